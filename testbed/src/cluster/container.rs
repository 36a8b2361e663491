//! A kubelet's and a container runtime's part: a DaemonSet's container as a process with the same
//! arguments, environment, files and capabilities.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Container as Spec, EnvVar, PodSpec, Secret, Volume, VolumeMount},
};

use super::flags::SERVICE_HOST;
use crate::netns;

/// Where every pod finds who it is.
const IDENTITY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Sees the tree from the node's root on, as the processes of a node do; words: the root, where to
/// go back to, the rest.
const CGROUPS: &str = r#"
echo 0 > "$1/cgroup.procs"; home=$2; shift 2
exec unshare --cgroup sh -euc 'echo 0 > "$1/cgroup.procs"; shift; exec "$@"' cgroups "$home" "$@"
"#;

/// Builds a root file system that holds what the image and the volumes bring, and the system's
/// libraries since a binary under test is not static; then becomes the program, in it. Words: the
/// root; the binary; `ro` or `rw`; the capabilities; the user; so many mounts as `SOURCE TARGET ro|rw`; `--`;
/// the arguments.
const SCRIPT: &str = r#"
root=$1 binary=$2 mode=$3 caps=$4 user=$5; shift 5
mount -t tmpfs tmpfs "$root"
mkdir -p "$root/etc" "$root/dev" "$root/proc" "$root/sys"
for dir in usr lib lib64 bin sbin; do
  [ -e "/$dir" ] || continue
  mkdir "$root/$dir"; mount --bind "/$dir" "$root/$dir"; mount -o remount,bind,ro "$root/$dir"
done
for file in etc/resolv.conf etc/hosts etc/ld.so.cache dev/null dev/zero dev/urandom; do
  [ -e "/$file" ] || continue
  : > "$root/$file"; mount --bind "/$file" "$root/$file"
done
mount -t proc proc "$root/proc"
echo "$HOSTNAME" > /proc/sys/kernel/hostname
mount --bind "$root/proc/sys" "$root/proc/sys"; mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
: > "$root/lb-agent"; mount --bind "$binary" "$root/lb-agent"
while [ "$1" != -- ]; do
  mkdir -p "$root$2"; mount --rbind "$1" "$root$2"; mount -o "remount,bind,$3" "$root$2"; shift 3
done
shift
mount -o "remount,$mode" "$root"
exec chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \
  --inh-caps "$caps" --ambient-caps -all --bounding-set "$caps" /lb-agent "$@"
"#;

/// A node, as far as a container sees it.
#[derive(Debug)]
pub struct Host<'a> {
    /// The Node's name.
    pub node: &'a str,
    /// Its bpffs: what stands here for `/sys/fs/bpf`.
    pub bpffs: &'a Path,
    /// The root of its cgroup tree.
    pub cgroup: &'a Path,
    /// Where in it the container belongs.
    pub home: &'a Path,
    /// Stands for every other directory of the host; stays over a restart.
    pub files: &'a Path,
    /// The token of the pod's ServiceAccount.
    pub token: &'a str,
    /// The certificates of the API server.
    pub ca: &'a Path,
    /// The program that the image holds.
    pub binary: &'a Path,
}

impl Host<'_> {
    /// Where a volume finds the files of this ConfigMap; to be put there first.
    fn config_map(&self, name: &str) -> PathBuf {
        self.files.join("config-maps").join(name)
    }

    /// The same of a Secret.
    fn secret(&self, name: &str) -> PathBuf {
        self.files.join("secrets").join(name)
    }

    /// Puts the files of a Secret where its volumes find them.
    pub fn put_secret(&self, secret: &Secret) -> Result<()> {
        let dir = self.secret(secret.metadata.name.as_deref().unwrap_or_default());
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for (file, bytes) in secret.data.iter().flatten() {
            fs::write(dir.join(file), &bytes.0).with_context(|| format!("write {file}"))?;
        }
        Ok(())
    }

    /// Puts the files of a ConfigMap where its volumes find them.
    pub fn put(&self, map: &ConfigMap) -> Result<()> {
        let dir = self.config_map(map.metadata.name.as_deref().unwrap_or_default());
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        for (file, text) in map.data.iter().flatten() {
            fs::write(dir.join(file), text).with_context(|| format!("write {file}"))?;
        }
        Ok(())
    }
}

/// What a DaemonSet asks for, checked to be something that this module can give.
#[derive(Debug)]
pub struct Container {
    pod: PodSpec,
    spec: Spec,
}

impl Container {
    /// The agent's container.
    pub fn of(daemon_set: &DaemonSet) -> Result<Self> {
        let pod = daemon_set.spec.clone().template.spec;
        Self::of_host_pod(pod.context("the DaemonSet has no pods")?)
    }

    /// The one container of a pod that runs in its node's network namespace.
    pub fn of_host_pod(pod: PodSpec) -> Result<Self> {
        ensure!(
            pod.host_network == Some(true),
            "only a pod with hostNetwork can run in a node's namespace"
        );
        Self::of_pod(pod)
    }

    /// The one container of a pod that has a network namespace of its own.
    pub fn of_client_pod(pod: PodSpec) -> Result<Self> {
        ensure!(
            pod.host_network != Some(true),
            "a pod with hostNetwork runs in its node's namespace"
        );
        Self::of_pod(pod)
    }

    fn of_pod(pod: PodSpec) -> Result<Self> {
        let [spec] = pod.containers.as_slice() else {
            bail!("the pod should have one container")
        };
        ensure!(
            spec.command.is_none(),
            "the image's entry point is expected to be kept"
        );
        Ok(Self {
            spec: spec.clone(),
            pod,
        })
    }

    /// The names of its capabilities, sorted; an error if others are not dropped.
    pub fn capabilities(&self) -> Result<Vec<String>> {
        let context = self
            .spec
            .security_context
            .as_ref()
            .context("no securityContext")?;
        ensure!(
            context.privileged != Some(true),
            "the container is privileged"
        );
        ensure!(
            context.allow_privilege_escalation == Some(false),
            "the container may gain privileges"
        );
        let capabilities = context.capabilities.as_ref().context("no capabilities")?;
        ensure!(
            capabilities.drop.as_deref() == Some(&["ALL".to_owned()]),
            "not all capabilities are dropped"
        );
        let mut added = capabilities.add.clone().unwrap_or_default();
        added.sort();
        Ok(added)
    }

    /// The user that it runs as, which it must name.
    fn user(&self) -> Result<i64> {
        let context = self.spec.security_context.as_ref();
        let user = context.and_then(|context| context.run_as_user);
        user.context("the container does not say who it runs as")
    }

    /// The address and path that a kubelet asks to see whether it is ready.
    pub fn readiness(&self) -> Result<String> {
        let probe = self
            .spec
            .readiness_probe
            .as_ref()
            .and_then(|probe| probe.http_get.as_ref());
        let get = probe.context("no readiness probe over HTTP")?;
        let host: IpAddr = get
            .host
            .as_deref()
            .context("a probe of a hostNetwork pod needs a host")?
            .parse()?;
        let port = match &get.port {
            k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(port) => {
                u16::try_from(*port)?
            }
            other @ k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(_) => {
                bail!("port {other:?}")
            }
        };
        let path = get.path.as_deref().unwrap_or("/");
        Ok(format!(
            "http://{}{path}",
            std::net::SocketAddr::new(host, port)
        ))
    }

    /// The value of a flag `--name=value`, or of its environment variable.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&str> {
        let prefix = format!("--{name}=");
        let variable = format!("LB_AGENT_{}", name.replace('-', "_").to_uppercase());
        let given = self.spec.args.iter().flatten();
        let set = self.spec.env.iter().flatten();
        given
            .filter_map(|arg| arg.strip_prefix(&prefix))
            .chain(
                set.filter(|var| var.name == variable)
                    .filter_map(|var| var.value.as_deref()),
            )
            .next()
    }

    /// The command that a runtime on this host would run; to be started in its network namespace.
    pub fn words(&self, host: &Host<'_>) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = vec!["env".into(), "-i".into()];
        for (name, value) in self.environment(host)? {
            words.push(format!("{name}={value}").into());
        }
        words.extend(["sh", "-euc", CGROUPS, "cgroups"].map(Into::into));
        words.extend([host.cgroup.into(), host.home.into()]);
        words.extend(
            [
                "unshare",
                "--mount",
                "--uts",
                "--propagation",
                "private",
                "sh",
                "-euc",
                SCRIPT,
                "container",
            ]
            .map(Into::into),
        );
        let root = host.files.join("rootfs");
        fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
        let read_only = self
            .spec
            .security_context
            .as_ref()
            .and_then(|context| context.read_only_root_filesystem);
        let mut capabilities = "-all".to_owned();
        for capability in self.capabilities()? {
            capabilities.push_str(",+");
            capabilities.push_str(&capability.to_lowercase());
        }
        words.extend([root.into(), host.binary.into()]);
        words.extend([mode(read_only).into(), capabilities.into()]);
        words.push(self.user()?.to_string().into());
        for mount in self.spec.volume_mounts.iter().flatten() {
            words.extend([
                self.source(mount, host)?.into(),
                OsString::from(&mount.mount_path),
                mode(mount.read_only).into(),
            ]);
        }
        words.extend([
            identity(host)?.into(),
            IDENTITY.into(),
            "ro".into(),
            "--".into(),
        ]);
        words.extend(self.spec.args.iter().flatten().map(OsString::from));
        Ok(words)
    }

    /// What a kubelet gives to every container, and then its own.
    fn environment(&self, host: &Host<'_>) -> Result<BTreeMap<String, String>> {
        let url = format!("tcp://{SERVICE_HOST}:443");
        let given = [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("KUBERNETES_SERVICE_HOST", SERVICE_HOST),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
            ("KUBERNETES_PORT", &url),
            ("KUBERNETES_PORT_443_TCP", &url),
            ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
            ("KUBERNETES_PORT_443_TCP_PORT", "443"),
            ("KUBERNETES_PORT_443_TCP_ADDR", SERVICE_HOST),
            ("HOSTNAME", host.node),
        ];
        let mut all: BTreeMap<String, String> = given
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for EnvVar {
            name,
            value,
            value_from,
        } in self.spec.env.iter().flatten()
        {
            let field = value_from
                .as_ref()
                .and_then(|from| from.field_ref.as_ref())
                .map(|field| field.field_path.as_str());
            let value = match (value, field) {
                (Some(value), None) => value,
                (None, Some("spec.nodeName")) => host.node,
                (value, field) => bail!("environment {name}: value {value:?}, field {field:?}"),
            };
            all.insert(name.clone(), value.to_owned());
        }
        Ok(all)
    }

    /// The directory of this machine that a mount shows.
    fn source(&self, mount: &VolumeMount, host: &Host<'_>) -> Result<PathBuf> {
        let find = |volume: &&Volume| volume.name == mount.name;
        let volume = self.pod.volumes.iter().flatten().find(find);
        let volume = volume.with_context(|| format!("mount {} has no volume", mount.name))?;
        let path = match &volume.host_path {
            Some(path) if path.path == "/sys/fs/bpf" => return Ok(host.bpffs.to_owned()),
            Some(path) if path.path == "/sys/fs/cgroup" => return Ok(host.cgroup.to_owned()),
            // What stands for nodes and pods is named there.
            Some(path) if path.path == netns::DIR => return Ok(netns::DIR.into()),
            Some(path) => host.files.join(path.path.trim_start_matches('/')),
            None if volume.empty_dir.is_some() => host.files.join("volumes").join(&volume.name),
            None => {
                let map = volume.config_map.as_ref().map(|map| map.name.as_str());
                let secret = volume
                    .secret
                    .as_ref()
                    .and_then(|s| s.secret_name.as_deref());
                match (map, secret) {
                    (Some(map), _) => host.config_map(map),
                    (None, Some(secret)) => host.secret(secret),
                    (None, None) => bail!(
                        "volume {}: no hostPath, emptyDir, configMap or secret",
                        volume.name
                    ),
                }
            }
        };
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }
}

/// The directory with the token and the certificates.
fn identity(host: &Host<'_>) -> Result<PathBuf> {
    let dir = host.files.join("serviceaccount");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    fs::write(dir.join("token"), host.token).context("write the token")?;
    fs::write(dir.join("namespace"), "kube-system").context("write the namespace")?;
    fs::copy(host.ca, dir.join("ca.crt")).context("copy the certificates")?;
    Ok(dir)
}

fn mode(read_only: Option<bool>) -> &'static str {
    if read_only == Some(true) { "ro" } else { "rw" }
}

//! Where the parts of a real cluster, control plane and nodes, are found, and how Go builds those
//! that are not. Runs none of them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use lb_build::{cache_dir, program_on_path};

use super::Needs;
use crate::{cargo::root, step::Step};

/// A program that a `go.mod` of ours under `tools/` pins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tool {
    /// The program's name.
    pub(super) binary: &'static str,
    /// The folder under `tools/`, and the name in the cache.
    module: &'static str,
    /// What Go builds.
    package: &'static str,
    /// What Go makes of that.
    made: Made,
    /// What asks for it.
    part: Part,
    /// Variables of the program that carry its version, as Go packages name them.
    version_in: Option<&'static str>,
}

/// What a tool is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// What stands for a cluster in tests.
    ControlPlane,
    /// What runs pods, too.
    Nodes,
    /// Kubernetes' own suite, and what its pods run.
    Suite,
}

/// What Go makes of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Program,
    /// A program of its tests.
    Tests,
}

const CONTAINERD_VERSION: &str = "github.com/containerd/containerd/v2/version.Version";
const KUBERNETES_VERSION: &str = "k8s.io/component-base/version.gitVersion";

const TOOLS: [Tool; 14] = [
    Tool {
        binary: "etcd",
        module: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: None,
    },
    Tool {
        binary: "kube-apiserver",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "kube-controller-manager",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "kube-proxy",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-proxy",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "kubectl",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kubectl",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "coredns",
        module: "coredns",
        package: "github.com/coredns/coredns",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: None,
    },
    Tool {
        binary: "helm",
        module: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        made: Made::Program,
        part: Part::ControlPlane,
        version_in: Some("helm.sh/helm/v4/internal/version.version"),
    },
    Tool {
        binary: "kube-scheduler",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kube-scheduler",
        made: Made::Program,
        part: Part::Nodes,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "kubelet",
        module: "kubernetes",
        package: "k8s.io/kubernetes/cmd/kubelet",
        made: Made::Program,
        part: Part::Nodes,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "containerd",
        module: "containerd",
        package: "github.com/containerd/containerd/v2/cmd/containerd",
        made: Made::Program,
        part: Part::Nodes,
        version_in: Some(CONTAINERD_VERSION),
    },
    Tool {
        binary: "containerd-shim-runc-v2",
        module: "containerd",
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        made: Made::Program,
        part: Part::Nodes,
        version_in: Some(CONTAINERD_VERSION),
    },
    Tool {
        binary: "ctr",
        module: "containerd",
        package: "github.com/containerd/containerd/v2/cmd/ctr",
        made: Made::Program,
        part: Part::Nodes,
        version_in: Some(CONTAINERD_VERSION),
    },
    Tool {
        binary: "agnhost",
        module: "kubernetes",
        package: "k8s.io/kubernetes/test/images/agnhost",
        made: Made::Program,
        part: Part::Suite,
        version_in: Some(KUBERNETES_VERSION),
    },
    Tool {
        binary: "e2e.test",
        module: "kubernetes",
        package: "k8s.io/kubernetes/test/e2e",
        made: Made::Tests,
        part: Part::Suite,
        version_in: Some(KUBERNETES_VERSION),
    },
];

/// Every tool, in the order of building.
#[cfg(test)]
pub(super) fn all() -> Vec<&'static Tool> {
    TOOLS.iter().collect()
}

/// The tools that are needed and nowhere.
pub(super) fn missing(needs: Needs) -> Vec<&'static Tool> {
    let wanted = |tool: &&Tool| match tool.part {
        Part::ControlPlane => needs.control_plane,
        Part::Nodes => needs.nodes,
        Part::Suite => needs.suite,
    };
    TOOLS
        .iter()
        .filter(wanted)
        .filter(|tool| is_missing(tool))
        .collect()
}

/// Whether the tool is nowhere.
pub(super) fn is_missing(tool: &Tool) -> bool {
    locate(tool).is_none()
}

/// The tools that are somewhere, and where.
pub(super) fn located() -> Vec<(&'static str, PathBuf)> {
    TOOLS
        .iter()
        .filter_map(|tool| Some((tool.binary, locate(tool)?)))
        .collect()
}

/// The folders that hold them, each once.
pub(super) fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (_, path) in located() {
        if let Some(folder) = path.parent().map(Path::to_owned)
            && !folders.contains(&folder)
        {
            folders.push(folder);
        }
    }
    folders
}

/// The go command.
pub(super) fn go() -> Option<PathBuf> {
    program_on_path("go")
        .or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|path| path.is_file()))
}

/// Builds the tool into the cache; it appears there whole or not at all.
pub(super) fn build(tool: &Tool) -> Result<()> {
    let Tool {
        binary,
        module,
        package,
        made,
        part: _,
        version_in,
    } = tool;
    let target = in_cache(tool)?;
    let folder = target.parent().context("a cache path has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    // One set-up at a time holds the lock, so the next one writes over what a broken-off one left.
    let unfinished = folder.join(format!(".{binary}.unfinished"));

    let mut command = Command::new(go().context("go is gone since it was looked for")?);
    command
        .current_dir(root()?.join("tools").join(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .args(match made {
            Made::Program => &["build"][..],
            Made::Tests => &["test", "-c"],
        })
        .args(["-v", "-trimpath", "-ldflags"])
        .arg(ldflags(*version_in, &version(tool)?))
        .arg("-o")
        .arg(&unfinished)
        .arg(package);
    Step::new(&format!("build-{binary}"), format!("building {binary}"))?.run(&mut command)?;
    fs::rename(&unfinished, &target).with_context(|| format!("put {} in place", target.display()))
}

/// `$KUBEBUILDER_ASSETS` first, as is usual among controllers' tests, then `PATH`, then our cache.
fn locate(tool: &Tool) -> Option<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS")
        .map(|folder| Path::new(&folder).join(tool.binary))
        .filter(|path| path.is_file());
    assets
        .or_else(|| program_on_path(tool.binary))
        .or_else(|| in_cache(tool).ok().filter(|path| path.is_file()))
}

fn in_cache(tool: &Tool) -> Result<PathBuf> {
    let Tool {
        binary,
        module,
        package: _,
        made: _,
        part: _,
        version_in: _,
    } = tool;
    Ok(cache_dir()?
        .join(format!("{module}-{}", version(tool)?))
        .join("bin")
        .join(binary))
}

fn version(tool: &Tool) -> Result<String> {
    let file = root()?.join("tools").join(tool.module).join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    required(&text, tool.package).with_context(|| {
        format!(
            "{} requires no module that holds {}",
            file.display(),
            tool.package
        )
    })
}

/// The version, without its `v`, of the required module with the longest path that holds the
/// package.
fn required(go_mod: &str, package: &str) -> Option<String> {
    go_mod
        .lines()
        .filter(|line| !line.contains("=>"))
        .filter_map(|line| {
            let mut words = line
                .trim()
                .trim_start_matches("require ")
                .split_whitespace();
            let (module, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            let rest = package.strip_prefix(module)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (module.len(), version.to_owned()))
        })
        .max()
        .map(|(_, version)| version)
}

/// Without symbols, and with the version that Go does not know for a program built as a dependency.
fn ldflags(version_in: Option<&str>, version: &str) -> String {
    let mut flags = vec!["-s -w".to_owned()];
    if let Some(variable) = version_in {
        flags.push(format!("-X {variable}=v{version}"));
        let mut parts = version.split('.');
        if variable == KUBERNETES_VERSION
            && let (Some(major), Some(minor)) = (parts.next(), parts.next())
        {
            let package = variable.trim_end_matches("gitVersion");
            flags.push(format!(
                "-X {package}gitMajor={major} -X {package}gitMinor={minor}"
            ));
        }
    }
    flags.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_pinned_by_its_go_mod() {
        for tool in &TOOLS {
            assert!(!version(tool).unwrap().is_empty(), "{}", tool.binary);
        }
    }

    #[test]
    fn the_longest_module_path_gives_the_version_and_replacements_do_not() {
        let go_mod = "require (\n\tgo.etcd.io/etcd v1.0.0 // indirect\n\tgo.etcd.io/etcd/server/v3 v3.7.3 // indirect\n)\n\
                      replace k8s.io/kubernetes => k8s.io/other v9.9.9\nrequire k8s.io/kubernetes v1.37.2\n";
        assert_eq!(
            required(go_mod, "go.etcd.io/etcd/server/v3").unwrap(),
            "3.7.3"
        );
        assert_eq!(
            required(go_mod, "k8s.io/kubernetes/cmd/kube-proxy").unwrap(),
            "1.37.2"
        );
        assert_eq!(required(go_mod, "k8s.io/kubernetesque"), None);
    }

    #[test]
    fn kubernetes_learns_its_version_in_all_its_places() {
        assert_eq!(
            ldflags(Some(KUBERNETES_VERSION), "1.37.2"),
            "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37"
        );
        assert_eq!(ldflags(None, "3.7.3"), "-s -w");
    }
}

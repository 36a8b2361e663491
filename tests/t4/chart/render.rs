//! What helm makes of the chart without a cluster.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use testbed::cluster::chart::{self, path_str};

/// No cluster is asked where its API server is.
const HOST: [&str; 2] = ["--set", "k8sServiceHost=198.18.0.10"];

#[test]
fn helm_lint_has_nothing_to_say() -> Result<()> {
    let home = tempfile::tempdir()?;
    let dir = chart::dir();
    for values in chart::value_files()? {
        let done = chart::helm(
            home.path(),
            &[
                "lint",
                "--strict",
                path_str(&dir)?,
                "-f",
                path_str(&values)?,
            ],
        )?;
        let said = String::from_utf8_lossy(&done.stdout);
        ensure!(done.status.success(), "{}: {said}", values.display());
        ensure!(
            said.contains("1 chart(s) linted, 0 chart(s) failed"),
            "{said}"
        );
        ensure!(
            !said.contains("[WARNING]") && !said.contains("[ERROR]"),
            "{said}"
        );
    }
    Ok(())
}

/// A field that Kubernetes does not know is dropped by its types without a word: what went in must
/// come out.
#[test]
fn every_field_is_one_that_kubernetes_knows() -> Result<()> {
    let home = tempfile::tempdir()?;
    let mut kinds = BTreeSet::new();
    for values in chart::value_files()? {
        for document in chart::template(home.path(), &["-f", path_str(&values)?])? {
            let kind = document["kind"]
                .as_str()
                .context("a document without a kind")?
                .to_owned();
            let back = round_trip(&kind, &document)?;
            let mut lost = Vec::new();
            compare(&document, &back, &kind, &mut lost);
            ensure!(lost.is_empty(), "{}: lost {lost:?}", values.display());
            ensure!(
                document["metadata"].get("namespace").is_none(),
                "{kind}: --namespace decides, not the chart"
            );
            kinds.insert(kind);
        }
    }
    let all = [
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "DaemonSet",
        "Pod",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ];
    assert_eq!(kinds, all.map(str::to_owned).into());
    Ok(())
}

fn round_trip(kind: &str, document: &Value) -> Result<Value> {
    fn typed<K: DeserializeOwned + Serialize>(document: &Value) -> Result<Value> {
        Ok(serde_json::to_value(serde_json::from_value::<K>(
            document.clone(),
        )?)?)
    }
    match kind {
        "ClusterRole" => typed::<ClusterRole>(document),
        "ClusterRoleBinding" => typed::<ClusterRoleBinding>(document),
        "ConfigMap" => typed::<ConfigMap>(document),
        "DaemonSet" => typed::<DaemonSet>(document),
        "Pod" => typed::<Pod>(document),
        "Service" => typed::<Service>(document),
        "ServiceAccount" => typed::<ServiceAccount>(document),
        // Of a custom resource there are no types to compare with.
        "PrometheusRule" | "ServiceMonitor" => Ok(document.clone()),
        other => bail!("the chart makes a {other}, which this test does not know"),
    }
}

fn compare(before: &Value, after: &Value, at: &str, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(fields), _) => {
            for (name, value) in fields {
                compare(
                    value,
                    after.get(name).unwrap_or(&Value::Null),
                    &format!("{at}.{name}"),
                    lost,
                );
            }
        }
        (Value::Array(items), _) => {
            for (index, item) in items.iter().enumerate() {
                compare(
                    item,
                    after.get(index).unwrap_or(&Value::Null),
                    &format!("{at}[{index}]"),
                    lost,
                );
            }
        }
        _ if before == after => {}
        _ => lost.push(format!("{at}: {before} became {after}")),
    }
}

#[test]
fn a_misspelt_field_would_be_found() -> Result<()> {
    let document = serde_json::json!({"kind": "Pod", "spec": {"hostNetwrok": true, "containers": [{"name": "a"}]}});
    let mut lost = Vec::new();
    compare(&document, &round_trip("Pod", &document)?, "Pod", &mut lost);
    assert!(
        lost.iter().any(|field| field.contains("hostNetwrok")),
        "{lost:?}"
    );
    Ok(())
}

#[test]
fn the_schema_refuses_what_would_not_work() -> Result<()> {
    let home = tempfile::tempdir()?;
    for (set, named) in [
        // Names that are not there, at every level.
        ("imagee.tag=x", "imagee"),
        ("image.taag=x", "taag"),
        ("config.attachXpd={eth0}", "attachXpd"),
        ("metrics.serviceMonitor.enable=true", "enable"),
        ("probes.liveness.path=/x", "path"),
        ("serviceAccount.nmae=x", "nmae"),
        ("rbac.enabled=true", "enabled"),
        ("health.address=x", "address"),
        ("resources.limit.cpu=1", "limit"),
        ("updateStrategy.kind=OnDelete", "kind"),
        // Values that are none.
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=abc", "digest"),
        ("config.xdpMode=generic", "xdpMode"),
        ("config.socketLb=yes", "socketLb"),
        ("config.scheduler=fastest", "scheduler"),
        ("config.onBackendRemoval=drop", "onBackendRemoval"),
        ("config.serviceMetrics=0", "serviceMetrics"),
        ("config.passiveHealth=maybe", "passiveHealth"),
        ("socketReset=auto", "socketReset"),
        ("config.logFormat=xml", "logFormat"),
        ("config.devices=null", "devices"),
        ("config.devices={a-name-of-16-char}", "devices"),
        ("config.attachXdp=eth0", "attachXdp"),
        ("config.nodePortAddresses={everywhere}", "nodePortAddresses"),
        ("config.externalIpCidrs={all}", "externalIpCidrs"),
        ("config.snatPorts={all}", "snatPorts"),
        ("config.nodePortRange=node", "nodePortRange"),
        ("config.conntrack.udpTimeout=soon", "udpTimeout"),
        ("config.conntrack.max=1", "'max'"),
        ("config.mapCapacity.services=1", "'services'"),
        ("config.mapCapacity.lb_frontends=0", "lb_frontends"),
        ("config.bpfDir=/var/lib/bpf", "bpfDir"),
        ("config.stateDir=state", "stateDir"),
        ("k8sServicePort=0", "k8sServicePort"),
        ("k8sServicePort=70000", "k8sServicePort"),
        ("k8sServiceHost=https://10.0.0.1", "k8sServiceHost"),
        ("kubeProxyConfig=mode: nftables", "kubeProxyConfig"),
        ("kubeProxyConfig.mode=nftables", "kubeProxyConfig"),
        ("health.port=http", "port"),
        ("health.bindAddress=localhost", "bindAddress"),
        ("metrics.serviceMonitor.interval=often", "interval"),
        ("updateStrategy.rollingUpdate.maxSurge=1", "maxSurge"),
        ("extraArgs={eth0}", "extraArgs"),
        ("extraEnv[0].value=x", "extraEnv"),
        ("podLabels.a=1", "podLabels"),
        ("image.registry=a b", "registry"),
        ("global.imageRegistry=a@b", "imageRegistry"),
        ("commonLabels.a=1", "commonLabels"),
        ("commonAnnotations.a=1", "commonAnnotations"),
        ("daemonSetAnnotations.a=1", "daemonSetAnnotations"),
        ("revisionHistoryLimit=-1", "revisionHistoryLimit"),
        ("minReadySeconds=-1", "minReadySeconds"),
        ("extraObjects={1}", "extraObjects"),
        ("extraContainers[0].image=x", "extraContainers"),
        ("extraInitContainers[0].image=x", "extraInitContainers"),
        ("test.nodePorts=true", "nodePorts"),
    ] {
        let dir = chart::dir();
        let done = chart::helm(home.path(), &["template", path_str(&dir)?, "--set", set])?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(!done.status.success(), "{set} was accepted");
        // Refused by the schema, and with the name of what is wrong.
        ensure!(
            said.contains("schema") && said.contains(named),
            "{set}: {said}"
        );
    }
    Ok(())
}

/// The DaemonSet, and the ConfigMap with kube-proxy's configuration, of these values.
fn with_file(args: &[&str]) -> Result<(DaemonSet, Option<ConfigMap>)> {
    let home = tempfile::tempdir()?;
    let documents = chart::template(home.path(), &[&HOST[..], args].concat())?;
    let of = |kind: &str| {
        let mut all = documents.iter();
        all.find(|document| document["kind"] == kind).cloned()
    };
    let set = serde_json::from_value(of("DaemonSet").context("no DaemonSet")?)?;
    let map = of("ConfigMap").map(serde_json::from_value).transpose()?;
    Ok((set, map))
}

/// A new file means new pods; values at their default leave it its say, all others win.
#[test]
fn the_configuration_of_kube_proxy_reaches_the_agent() -> Result<()> {
    let values = chart::dir().join("ci/kube-proxy-config-values.yaml");
    let values = ["-f", path_str(&values)?];
    let arguments = |set: &DaemonSet| -> Result<Vec<String>> {
        let pod = set.spec.template.spec.as_ref().context("no pod")?;
        Ok(pod.containers[0].args.clone().unwrap_or_default())
    };
    let checksum = |set: &DaemonSet| {
        let metadata = set.spec.template.metadata.as_ref();
        let annotations = metadata.and_then(|m| m.annotations.as_ref());
        annotations.and_then(|all| all.get("checksum/kube-proxy-config").cloned())
    };
    let (set, map) = with_file(&values)?;
    let map = map.context("no ConfigMap")?;
    let data = map.data.context("an empty ConfigMap")?;
    lb_agent::settings::file::ConfigFile::read(&data["config.conf"])?;
    let name = map.metadata.name.context("a ConfigMap without a name")?;
    let pod = set.spec.template.spec.as_ref().context("no pod")?;
    let mounted = |volume: &&k8s_openapi::api::core::v1::Volume| {
        let source = volume.config_map.as_ref();
        source.is_some_and(|source| source.name == name)
    };
    let volume = pod.volumes.iter().flatten().find(mounted);
    let volume = &volume.context("it is not mounted")?.name;
    let mounts = pod.containers[0].volume_mounts.iter().flatten();
    let mount = mounts.into_iter().find(|mount| mount.name == *volume);
    assert_eq!(mount.context("no mount")?.mount_path, "/etc/lb-agent");
    let said = arguments(&set)?;
    ensure!(said.contains(&"--config=/etc/lb-agent/config.conf".to_owned()));
    let flags = [
        "--scheduler",
        "--node-port-addresses",
        "--log-format",
        "--log-level",
    ];
    for flag in flags {
        ensure!(
            !said.iter().any(|arg| arg.starts_with(flag)),
            "{flag} would hide the file"
        );
    }

    let more = [
        "--set",
        "config.scheduler=sh,config.nodePortAddresses={primary}",
    ];
    let (other, _) = with_file(&[&values[..], &more].concat())?;
    let said = arguments(&other)?;
    for flag in ["--scheduler=sh", "--node-port-addresses=primary"] {
        ensure!(said.contains(&flag.to_owned()), "{flag} is not in {said:?}");
    }
    let changed = [
        "--set-string",
        "kubeProxyConfig=apiVersion: kubeproxy.config.k8s.io/v1alpha1",
    ];
    let (changed, _) = with_file(&[&values[..], &changed].concat())?;
    ensure!(checksum(&set).is_some() && checksum(&set) == checksum(&other));
    ensure!(checksum(&changed) != checksum(&set));

    let (none, map) = with_file(&[])?;
    ensure!(map.is_none() && checksum(&none).is_none());
    let said = arguments(&none)?;
    for flag in flags {
        ensure!(
            said.iter().any(|arg| arg.starts_with(flag)),
            "{flag} is missing"
        );
    }
    Ok(())
}

/// Every value is in the README, and every value of the README exists.
#[test]
fn the_readme_lists_every_value() -> Result<()> {
    let values: Value =
        serde_saphyr::from_str(&fs::read_to_string(chart::dir().join("values.yaml"))?)?;
    let readme = fs::read_to_string(chart::dir().join("README.md"))?;
    let listed: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    for name in &listed {
        let found = name
            .split('.')
            .try_fold(&values, |value, key| value.get(key));
        ensure!(
            found.is_some(),
            "the README lists {name}, which is no value"
        );
    }
    let mut missing = Vec::new();
    unlisted(&values, "", &listed, &mut missing);
    ensure!(missing.is_empty(), "not in the README: {missing:?}");
    Ok(())
}

fn unlisted(value: &Value, name: &str, listed: &BTreeSet<&str>, missing: &mut Vec<String>) {
    if listed.contains(name) {
        return;
    }
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                unlisted(value, &name, listed, missing);
            }
        }
        _ => missing.push(name.to_owned()),
    }
}

#[test]
fn rights_are_reading_and_events_and_nothing_else() -> Result<()> {
    let pods = ["/namespaces: list watch", "/pods: list watch"];
    let always = [
        "/namespaces: get",
        "/nodes: get list watch",
        "/services: get list watch",
        "discovery.k8s.io/endpointslices: get list watch",
        "events.k8s.io/events: create patch",
        "networking.k8s.io/servicecidrs: get list watch",
    ];
    let of = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let all = [always.as_slice(), &pods].concat();
    assert_eq!(rights("config.socketLb=auto")?, of(&all));
    // Nothing else asks who is whose.
    assert_eq!(rights("config.socketLb=all")?, of(&always));
    Ok(())
}

/// What the chart's ClusterRole allows with this value.
fn rights(value: &str) -> Result<BTreeSet<String>> {
    let home = tempfile::tempdir()?;
    let words = [HOST.as_slice(), &["--set", value]].concat();
    let documents = chart::template(home.path(), &words)?;
    let role = documents
        .iter()
        .find(|document| document["kind"] == "ClusterRole")
        .context("no ClusterRole")?;
    let role: ClusterRole = serde_json::from_value(role.clone())?;
    let mut rights = BTreeSet::new();
    for rule in role.rules.iter().flatten() {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                rights.insert(format!("{group}/{resource}: {}", rule.verbs.join(" ")));
            }
        }
    }
    Ok(rights)
}

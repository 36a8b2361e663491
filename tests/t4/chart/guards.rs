//! Values that are fine each for itself, and not together: refused with a sentence that names them.

use anyhow::{Result, ensure};
use testbed::cluster::chart::{self, path_str};

#[test]
fn combinations_that_would_not_work_are_refused() -> Result<()> {
    let home = tempfile::tempdir()?;
    let dir = chart::dir();
    for (set, named) in [
        (
            "k8sServiceHost=auto",
            "set k8sServiceHost and k8sServicePort to an address",
        ),
        (
            "config.devices={auto,eth0}",
            "config.devices: auto stands alone",
        ),
        ("config.xdpMode=native", "config.attachXdp names no device"),
        (
            "config.lb0=off,config.socketLb=off",
            "config.lb0 is off and config.socketLb is off",
        ),
        (
            "config.lb0=off,config.socketLb=host",
            "config.socketLb is host",
        ),
        (
            "metrics.serviceMonitor.enabled=true",
            "needs metrics.enabled",
        ),
        (
            "metrics.prometheusRule.enabled=true",
            "needs metrics.enabled",
        ),
        (
            "metrics.enabled=true,metrics.prometheusRule.enabled=true,metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.honorLabels=false",
            "metrics.serviceMonitor.honorLabels is off",
        ),
        (
            "metrics.enabled=true,metrics.asKubeProxy=true",
            "metrics.asKubeProxy names the job",
        ),
        ("metrics.port=10256", "both 10256"),
        (
            "health.port=30080",
            "health.port 30080 is within config.nodePortRange",
        ),
        (
            "config.nodePortRange=10000-20000",
            "is within config.nodePortRange 10000-20000",
        ),
        (
            "extraArgs={--devices=eth0}",
            "--devices is what the value config.devices sets",
        ),
        ("extraArgs={--bpf-dir}", "config.bpfDir"),
        ("podLabels.app\\.kubernetes\\.io/name=x", "selector"),
        ("commonLabels.helm\\.sh/chart=x", "the chart's own label"),
    ] {
        let words = [
            "template",
            path_str(&dir)?,
            "--set",
            "k8sServiceHost=198.18.0.10",
            "--set",
            set,
        ];
        let done = chart::helm(home.path(), &words)?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(!done.status.success(), "{set} was accepted");
        ensure!(
            said.contains(named) && !said.contains("schema"),
            "{set}: {said}"
        );
    }
    Ok(())
}

/// Each flag that a value sets is guarded, and no guard names a value that is not there.
#[test]
fn every_flag_of_the_daemon_set_is_guarded() -> Result<()> {
    let home = tempfile::tempdir()?;
    let values = chart::dir().join("ci/everything-values.yaml");
    let documents = chart::template(home.path(), &["-f", path_str(&values)?])?;
    let set = documents.iter().find(|it| it["kind"] == "DaemonSet");
    let container = &set.map(|it| &it["spec"]["template"]["spec"]["containers"][0]);
    let args = container
        .and_then(|it| it["args"].as_array())
        .into_iter()
        .flatten();
    let helpers = std::fs::read_to_string(chart::dir().join("templates/_helpers.tpl"))?;
    let mut flags = 0;
    for arg in args.filter_map(|it| it.as_str()) {
        let (flag, _) = arg.split_once('=').unwrap_or((arg, ""));
        // The four of conntrack have a section of their own.
        if !flag.starts_with("--conntrack") {
            ensure!(
                helpers.contains(&format!("\n{flag}: ")),
                "{flag} may be given twice"
            );
            flags += 1;
        }
    }
    ensure!(flags > 15, "only {flags} flags");
    Ok(())
}

//! The rest of the file, field by field, with a warning for each field that has no meaning here.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    ConfigFile, Mode, addresses,
    fields::{Fields, whole},
    modes,
};
use crate::settings::values::{ClientRate, LogFormat, Source, duration};

/// Formats of objects that the agent can read from the API server.
const JSON: &str = "application/json";
/// kube-proxy's own default.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MINUTE: i64 = 60_000_000_000;
/// Bytes of the log are buffered only where this gate, or all of its stage, is open.
const BUFFER_GATES: [&str; 2] = ["LoggingAlphaOptions", "AllAlpha"];

/// Every field but `apiVersion` and `kind`.
pub(super) fn all(mut fields: Fields) -> Result<ConfigFile> {
    let mut read = ConfigFile::default();
    let f = &mut fields;
    let gates = feature_gates(f, &mut read.warnings)?;
    let mode = Mode::take(f)?;
    let name = f.text("hostnameOverride")?;
    read.settings.node_name = name
        .map(|name| name.trim().to_lowercase())
        .filter(|name| !name.is_empty());
    client(f, &mut read)?;
    addresses::bind(f, &mut read)?;
    addresses::node_ports(f, mode, &mut read)?;
    addresses::detect_local(f, &mut read)?;
    modes::modes(f, mode, &mut read)?;
    read.settings.conntrack = modes::conntrack(f, &mut read.warnings)?;
    read.settings.oom_score_adj = f.number("oomScoreAdj", -1000, 1000)?;
    logging(f, &gates, &mut read)?;
    if f.flag("enableProfiling")? == Some(true) {
        let reason = "enableProfiling: /debug/pprof is Go's own profiler; perf and bpftool prog profile work on this agent";
        read.warnings.push(reason.to_owned());
    }
    without_meaning(f, &mut read.warnings)?;
    fields.end()?;
    Ok(read)
}

/// The names of those that are open.
fn feature_gates(fields: &mut Fields, warnings: &mut Vec<String>) -> Result<Vec<String>> {
    let mut open = Vec::new();
    let mut names = Vec::new();
    for (name, value) in fields.section("featureGates")?.rest() {
        let Value::Bool(on) = value else {
            bail!("featureGates.{name}: {value} is not true or false");
        };
        if on {
            open.push(name.clone());
        }
        names.push(name);
    }
    if !names.is_empty() {
        warnings.push(format!(
            "featureGates ({}): they switch parts of kube-proxy's own code",
            names.join(", ")
        ));
    }
    Ok(open)
}

fn client(fields: &mut Fields, read: &mut ConfigFile) -> Result<()> {
    let mut section = fields.section("clientConnection")?;
    let kubeconfig = section.text("kubeconfig")?;
    read.settings.source = kubeconfig.map(|path| Source::Kubeconfig(path.into()));
    for (name, usual) in [
        ("contentType", &[JSON, PROTOBUF][..]),
        ("acceptContentTypes", &[JSON][..]),
    ] {
        let types = section.text(name)?;
        if types.is_some_and(|types| !usual.contains(&types.as_str())) {
            let path = section.path(name);
            read.warnings
                .push(format!("{path}: objects are read as {JSON} alone"));
        }
    }
    let (qps, burst) = (
        section.float("qps")?,
        section.number("burst", 0, i32::MAX.into())?,
    );
    section.end()?;
    // As in kube-proxy, 0 is its default and less than that is no limit; ours is no limit either
    // way.
    let qps = qps.filter(|qps| *qps > 0.0);
    let burst = burst.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    read.settings.client_rate = match (qps, burst) {
        (None, None) => None,
        (qps, burst) => Some(ClientRate {
            qps: qps.unwrap_or(5.0),
            burst: burst.unwrap_or(10),
        }),
    };
    Ok(())
}

fn logging(fields: &mut Fields, gates: &[String], read: &mut ConfigFile) -> Result<()> {
    let mut section = fields.section("logging")?;
    read.settings.log_format = match section.text("format")?.as_deref() {
        None => None,
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        Some(other) => bail!("logging.format: {other} is neither text nor json"),
    };
    let verbosity = section.number("verbosity", 0, i32::MAX.into())?;
    read.settings.log_level = verbosity.filter(|v| *v > 0).map(|v| level(v).to_owned());
    let flush = section.take("flushFrequency", "a duration such as 5s", |value| {
        value.as_str().map_or_else(|| whole(value), duration::parse)
    })?;
    let flush = flush.unwrap_or(0);
    ensure!(
        flush >= 0,
        "logging.flushFrequency: {} is negative",
        duration::show(flush)
    );
    if ![0, 5_000_000_000].contains(&flush) {
        read.warnings
            .push("logging.flushFrequency: every line is written at once".to_owned());
    }
    vmodule(&mut section, read)?;
    let mut options = section.section("options")?;
    for format in ["text", "json"] {
        let mut routing = options.section(format)?;
        let split = routing.flag("splitStream")?.unwrap_or(false);
        let size = routing.take("infoBufferSize", "a number of bytes such as 64Ki", quantity)?;
        let buffered = size.is_some_and(|size| size > 0.0);
        let path = routing.path("infoBufferSize");
        ensure!(
            !buffered
                || gates
                    .iter()
                    .any(|gate| BUFFER_GATES.contains(&gate.as_str())),
            "{path}: the feature gate LoggingAlphaOptions is not open"
        );
        if split || buffered {
            read.warnings.push(format!(
                "logging.options.{format}: there is one stream, standard error, without a buffer"
            ));
        }
        routing.end()?;
    }
    options.end()?;
    section.end()
}

/// Lines for people, more of them from 4 on, and every step from 6 on.
fn level(verbosity: i64) -> &'static str {
    match verbosity {
        ..=3 => "info",
        4 | 5 => "debug",
        _ => "trace",
    }
}

fn vmodule(section: &mut Fields, read: &mut ConfigFile) -> Result<()> {
    let items = section.take("vmodule", "a list", |value| value.as_array().cloned())?;
    let items = items.unwrap_or_default();
    let any = !items.is_empty();
    for (n, item) in items.into_iter().enumerate() {
        let mut item = Fields::of(&format!("logging.vmodule[{n}]"), item)?;
        let pattern = item.text("filePattern")?;
        let good = pattern.is_some_and(|pattern| !pattern.contains(['=', ',']));
        let path = item.path("filePattern");
        ensure!(good, "{path}: missing, or with a = or a comma");
        item.number("verbosity", 0, i32::MAX.into())?;
        item.end()?;
    }
    if any {
        ensure!(
            read.settings.log_format != Some(LogFormat::Json),
            "logging.vmodule: only for the format text"
        );
        read.warnings.push(
            "logging.vmodule: it names files of kube-proxy; --log-level takes a filter by module"
                .to_owned(),
        );
    }
    Ok(())
}

/// A number, or a text with a suffix of Kubernetes' quantities.
fn quantity(value: &Value) -> Option<f64> {
    let Some(text) = value.as_str() else {
        return value.as_f64();
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let known = [
        "", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let suffix = &text[digits.len()..];
    digits.parse().ok().filter(|_| known.contains(&suffix))
}

/// Fields that are read and checked, and nothing more.
fn without_meaning(fields: &mut Fields, warnings: &mut Vec<String>) -> Result<()> {
    let sync = fields.duration("configSyncPeriod")?.unwrap_or(0);
    ensure!(
        sync >= 0,
        "configSyncPeriod: {} is negative",
        duration::show(sync)
    );
    if ![0, 15 * MINUTE].contains(&sync) {
        warnings.push(
            "configSyncPeriod: nothing is kept beside the watches that would have to be fetched again; syncPeriod is the interval of the map audit"
                .to_owned(),
        );
    }
    if let Some(version) = fields.text("showHiddenMetricsForVersion")? {
        let numbers = version.split_once('.');
        let number = |text: &str| text.parse::<u16>().is_ok();
        numbers
            .filter(|(major, minor)| number(major) && number(minor))
            .with_context(|| {
                format!("showHiddenMetricsForVersion: {version} is no version such as 1.36")
            })?;
        warnings.push("showHiddenMetricsForVersion: no metric is hidden".to_owned());
    }
    if fields.text("portRange")?.is_some() {
        warnings.push("portRange: kube-proxy does not read it either".to_owned());
    }
    let mut windows = fields.section("winkernel")?;
    let mut set = false;
    for name in ["networkName", "sourceVip", "rootHnsEndpointName"] {
        set |= windows.text(name)?.is_some();
    }
    for name in ["enableDSR", "forwardHealthCheckVip"] {
        set |= windows.flag(name)?.unwrap_or(false);
    }
    windows.end()?;
    set |= fields.flag("windowsRunAsService")?.unwrap_or(false);
    if set {
        warnings.push("winkernel, windowsRunAsService: this is Linux".to_owned());
    }
    for old in ["udpIdleTimeout", "resourceContainer"] {
        fields.dropped(old, warnings);
    }
    Ok(())
}

//! A Prometheus on the node, which scrapes the agent every second.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    cluster::{chart::path_str, tools},
    node::Node,
    poll,
    process::Process,
};

/// How long a Prometheus may take to start, and to have two samples of everything.
const START: Duration = Duration::from_mins(1);
const CONFIG: &str = "
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: lb-agent
    static_configs: [{targets: ['127.0.0.1:10249']}]
  # What `metrics.asKubeProxy` makes of it.
  - job_name: kube-proxy
    static_configs: [{targets: ['127.0.0.1:10249']}]
";

/// Ends with this value.
pub(super) struct Prometheus<'a> {
    node: &'a Node,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    /// Started, and it has scraped the agent more than once.
    pub(super) fn start(node: &'a Node) -> Result<Self> {
        let files = node.files();
        let config = files.join("prometheus.yaml");
        fs::write(&config, CONFIG).with_context(|| format!("write {}", config.display()))?;
        let program = tools::find("prometheus")?;
        let words = [
            path_str(&program)?.to_owned(),
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", files.join("prometheus").display()),
            "--web.listen-address=127.0.0.1:9090".to_owned(),
        ];
        let process = node.spawn(&words, &files.join("prometheus.log"))?;
        let prometheus = Self {
            node,
            _process: process,
        };
        poll::until_true(START, "Prometheus has samples", || {
            let found = prometheus.query("min(count_over_time(lb_agent_build_info[30s])) > 2")?;
            Ok(!found.is_empty())
        })?;
        Ok(prometheus)
    }

    /// What a query gives now.
    pub(super) fn query(&self, query: &str) -> Result<Vec<Value>> {
        let said = self.node.run(&[
            "curl",
            "--silent",
            "--show-error",
            "--get",
            "http://127.0.0.1:9090/api/v1/query",
            "--data-urlencode",
            &format!("query={query}"),
        ])?;
        let mut answer: Value =
            serde_json::from_str(&said).with_context(|| format!("{query}: {said}"))?;
        ensure!(answer["status"] == "success", "{query}: {said}");
        match answer["data"]["result"].take() {
            Value::Array(found) => Ok(found),
            other => anyhow::bail!("{query}: {other} is no list"),
        }
    }
}

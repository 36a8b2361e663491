//! The registries behind `/metrics`. Each subsystem registers its own metrics; names are those of
//! kube-proxy's dashboards with `lb_` in front.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::text,
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

use super::names;

/// Everything that a scrape shows.
#[derive(Debug)]
pub struct Registries {
    lb: Registry,
    kubeproxy: Registry,
}

impl Registries {
    /// Holds the agent's version, and what `kernel` reads from the maps at each scrape.
    #[must_use]
    pub fn new(kernel: Box<dyn Collector>) -> Self {
        let mut lb = Registry::with_prefix(names::PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        lb.register("build", "The agent's version", build);
        lb.register_collector(kernel);
        Self {
            lb,
            kubeproxy: Registry::with_prefix("kubeproxy"),
        }
    }

    /// For names that begin with `lb_`.
    pub fn lb(&mut self) -> &mut Registry {
        &mut self.lb
    }

    /// For names that begin with `kubeproxy_`.
    pub fn kubeproxy(&mut self) -> &mut Registry {
        &mut self.kubeproxy
    }

    /// The text of a scrape.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.kubeproxy)?;
        text::encode(&mut text, &self.lb)?;
        Ok(text)
    }
}

/// Sets a gauge to a count.
pub(crate) fn set(gauge: &Gauge, n: impl TryInto<i64>) {
    gauge.set(n.try_into().unwrap_or(i64::MAX));
}

//! The registries behind `/metrics`. Each subsystem registers its own metrics; the agent's own names begin
//! with `lb_agent_`, those of kube-proxy's dashboards with `kubeproxy_`.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::text,
    metrics::{gauge::Gauge, info::Info},
    registry::Registry,
};

use super::{names, plain_text, process::Process};

/// How a scrape is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// What the `Accept` header of a scraper asks for: OpenMetrics if it is named, and not wanted
    /// less than text; else text, which every scraper reads.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let best = |kind: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(kind);
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                let quality = quality.map_or(Some(1.0), |q| q.parse::<f32>().ok());
                named.then_some(quality?)
            });
            ranges.fold(0.0, f32::max)
        };
        let open = best("application/openmetrics-text");
        if open > 0.0 && open >= best("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type` of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Everything that a scrape shows.
#[derive(Debug)]
pub struct Registries {
    lb: Registry,
    kubeproxy: Registry,
    process: Registry,
}

impl Registries {
    /// Holds the agent's version, and what `kernel` reads from the maps at each scrape.
    #[must_use]
    pub fn new(kernel: Box<dyn Collector>) -> Self {
        let mut lb = Registry::with_prefix(names::PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        lb.register("build", "The agent's version", build);
        lb.register_collector(kernel);
        let mut process = Registry::with_prefix("process");
        process.register_collector(Box::new(Process));
        Self {
            lb,
            kubeproxy: Registry::with_prefix("kubeproxy"),
            process,
        }
    }

    /// For names that begin with `lb_agent_`.
    pub fn lb(&mut self) -> &mut Registry {
        &mut self.lb
    }

    /// For names that begin with `kubeproxy_`.
    pub fn kubeproxy(&mut self) -> &mut Registry {
        &mut self.kubeproxy
    }

    /// The text of a scrape.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.kubeproxy)?;
        text::encode_registry(&mut text, &self.process)?;
        text::encode(&mut text, &self.lb)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Text => plain_text::from_openmetrics(&text),
        })
    }
}

/// Sets a gauge to a count.
pub(crate) fn set(gauge: &Gauge, n: impl TryInto<i64>) {
    gauge.set(n.try_into().unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        // Prometheus 3, with and without the older format in front, curl, and a browser.
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let older_first = "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.2";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=much", Format::Text),
            (older_first, Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }
}

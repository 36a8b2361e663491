//! The text of `/metrics`, read by the names of metrics.

use crate::observe::names;

/// One answer of a running agent.
pub(super) struct Scrape<'a>(pub(super) &'a str);

impl<'a> Scrape<'a> {
    /// The value of a metric without labels; 0 if the agent does not have it.
    pub(super) fn value(&self, name: &str) -> f64 {
        let found = self.samples(name).find_map(|rest| rest.strip_prefix(' '));
        found.and_then(|n| n.parse().ok()).unwrap_or(0.0)
    }

    /// The values of a metric by map.
    pub(super) fn by_map(&self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.by_label(name, names::MAP)
    }

    /// The values of a metric that has one label.
    pub(super) fn by_label(&self, name: &str, label: &str) -> impl Iterator<Item = (&'a str, f64)> {
        let label = format!("{{{label}=\"");
        self.samples(name).filter_map(move |rest| {
            let (map, value) = rest.strip_prefix(&label)?.split_once("\"} ")?;
            Some((map, value.parse().ok()?))
        })
    }

    /// What stands behind the name in each line of a metric.
    fn samples(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = format!("{}_{name}", names::PREFIX);
        self.0.lines().filter_map(move |l| l.strip_prefix(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_names() {
        let scrape = Scrape(
            "# HELP lb_agent_a x\nlb_agent_a_b 3\nlb_agent_a 2\nlb_agent_m{map=\"x\"} 4\nlb_agent_m{map=\"y\"} 5\n",
        );
        assert!((scrape.value("a") - 2.0).abs() < 0.1);
        assert!(scrape.value("c").abs() < 0.1);
        let all: Vec<(&str, f64)> = scrape.by_map("m").collect();
        assert_eq!(all, [("x", 4.0), ("y", 5.0)]);
    }
}

//! Metrics of each Service port: whether there are any, and of how many ports.

use std::str::FromStr;

/// Of how many Service ports metrics are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceMetrics {
    /// Of none.
    Off,
    /// Of so many at most, the first by namespace and name.
    Most(usize),
}

impl Default for ServiceMetrics {
    /// As many as fit into one scrape of a common Prometheus: four series each.
    fn default() -> Self {
        Self::Most(10_000)
    }
}

impl FromStr for ServiceMetrics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::default()),
            number => number
                .parse()
                .ok()
                .filter(|most| *most > 0)
                .map(Self::Most)
                .ok_or_else(|| "on, off, or a number of Service ports above 0".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_read() {
        for (text, expected) in [
            ("off", Some(ServiceMetrics::Off)),
            ("on", Some(ServiceMetrics::Most(10_000))),
            ("7", Some(ServiceMetrics::Most(7))),
            ("0", None),
            ("-1", None),
            ("all", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}

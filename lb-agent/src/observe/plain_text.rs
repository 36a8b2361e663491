//! From OpenMetrics to Prometheus' older text format (0.0.4), which is what a scraper gets that does
//! not ask for OpenMetrics. Knows no metric by name.

use std::fmt::Write as _;

/// The same samples in the older format: a counter's family has the name of its samples, an info is
/// a gauge, and there is neither unit nor end.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(_), Some(words)) => help = Some(words),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some(help) = help.take() {
                    let _ = writeln!(out, "# HELP {name}{suffix} {help}");
                }
                let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
            }
            // UNIT and EOF.
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_names_and_types_of_the_older_format() {
        let text = "# HELP lb_agent_a Things.\n# TYPE lb_agent_a counter\nlb_agent_a_total{x=\"y\"} 1\n\
            # HELP lb_agent_b The build.\n# TYPE lb_agent_b info\nlb_agent_b_info{v=\"1\"} 1\n\
            # HELP lb_agent_c How long.\n# TYPE lb_agent_c histogram\n# UNIT lb_agent_c seconds\nlb_agent_c_count 0\n\
            # HELP lb_agent_d Odd.\n# TYPE lb_agent_d unknown\nlb_agent_d 2\n# EOF\n";
        let expected = "# HELP lb_agent_a_total Things.\n# TYPE lb_agent_a_total counter\nlb_agent_a_total{x=\"y\"} 1\n\
            # HELP lb_agent_b_info The build.\n# TYPE lb_agent_b_info gauge\nlb_agent_b_info{v=\"1\"} 1\n\
            # HELP lb_agent_c How long.\n# TYPE lb_agent_c histogram\nlb_agent_c_count 0\n\
            # HELP lb_agent_d Odd.\n# TYPE lb_agent_d untyped\nlb_agent_d 2\n";
        assert_eq!(from_openmetrics(text), expected);
    }
}

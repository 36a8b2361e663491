//! Where `docs/checks.md` explains each line of `lb-agent check`.

/// The page.
pub(super) const PAGE: &str = "docs/checks.md";

/// The beginning of a line's name, and the heading that explains it.
const TOPICS: &[(&str, &str)] = &[
    ("kernel types", "kernel"),
    ("bpf_set_retval", "kernel"),
    ("bpf_loop", "kernel"),
    ("tcx links", "kernel"),
    ("source address by bpf_fib_lookup", "kernel"),
    ("mmapable arrays", "kernel"),
    ("CAP_", "capabilities"),
    ("bpf file system", "bpf-file-system"),
    ("pins of an earlier version", "pins-of-an-earlier-version"),
    ("cgroup", "cgroup"),
    ("IPv4 forwarding", "forwarding"),
    ("IPv6 forwarding", "forwarding"),
    ("ports for rewritten sources", "source-ports"),
    ("ports ", "source-ports"),
    ("device lb0", "lb0"),
    ("lb0 and its routes", "lb0"),
    ("device ", "devices"),
    ("all named devices", "devices"),
    ("all devices watched", "devices"),
    ("every device that replies", "devices"),
    ("running agent", "running-agent"),
    ("all Services", "services"),
    ("all manifests", "manifests"),
    ("all programs attached", "programs"),
    ("order of programs", "programs"),
    ("no listener behind", "node-ports"),
    ("node ports outside", "node-ports"),
    ("no drift", "drift"),
    ("connected UDP sockets", "udp-sockets"),
    ("room in ", "full-maps"),
];

/// The heading for a line; those about kube-proxy and other software have one in common.
pub(super) fn anchor(name: &str) -> &'static str {
    let found = TOPICS.iter().find(|(start, _)| name.starts_with(start));
    found.map_or("other-software", |(_, heading)| heading)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_topic_has_its_heading() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        let text = fs::read_to_string(page).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let slugs: Vec<String> = headings
            .map(|h| h.to_lowercase().replace(' ', "-"))
            .collect();
        let all = TOPICS.iter().map(|(_, heading)| *heading);
        for heading in all.chain([anchor("chains that drop")]) {
            assert!(slugs.iter().any(|slug| slug == heading), "{heading}");
        }
        assert_eq!(anchor("CAP_BPF"), "capabilities");
        assert_eq!(anchor("device lb0"), "lb0");
        assert_eq!(anchor("device eth0"), "devices");
    }
}

//! Where `docs/checks.md` explains each line of `lb-agent check`.

/// The page.
pub(super) const PAGE: &str = "docs/checks.md";

macro_rules! topics {
    ($($name:ident = $anchor:literal,)*) => {
        /// What a line is about: a heading of the page.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Topic {
            $($name,)*
        }

        impl Topic {
            /// In the order of the page.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The heading, as links name it.
            pub(super) const fn anchor(self) -> &'static str {
                match self {
                    $(Self::$name => $anchor,)*
                }
            }
        }
    };
}

topics! {
    Kernel = "kernel",
    Capabilities = "capabilities",
    BpfFileSystem = "bpf-file-system",
    FormerPins = "pins-of-an-earlier-version",
    Cgroup = "cgroup",
    Forwarding = "forwarding",
    SourcePorts = "source-ports",
    Lb0 = "lb0",
    Devices = "devices",
    RunningAgent = "running-agent",
    Services = "services",
    Manifests = "manifests",
    Masquerading = "masquerading",
    Programs = "programs",
    NodePorts = "node-ports",
    Drift = "drift",
    UdpSockets = "udp-sockets",
    FullMaps = "full-maps",
    OtherSoftware = "other-software",
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_topic_has_its_heading_and_every_heading_its_topic() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        let text = fs::read_to_string(page).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let slugs: Vec<String> = headings
            .map(|h| h.to_lowercase().replace(' ', "-"))
            .collect();
        let anchors: Vec<&str> = Topic::ALL.iter().map(|topic| topic.anchor()).collect();
        assert_eq!(slugs, anchors);
    }
}

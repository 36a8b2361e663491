//! Where `docs/checks.md` explains each line of `lb-agent check`.

/// The page.
pub(super) const PAGE: &str = "docs/checks.md";

/// What a line is about: a heading of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Topic {
    Kernel,
    Capabilities,
    BpfFileSystem,
    FormerPins,
    Cgroup,
    Forwarding,
    SourcePorts,
    Lb0,
    Devices,
    RunningAgent,
    Services,
    Manifests,
    Masquerading,
    Programs,
    NodePorts,
    Drift,
    UdpSockets,
    FullMaps,
    OtherSoftware,
}

impl Topic {
    /// The heading, as links name it.
    pub(super) const fn anchor(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Capabilities => "capabilities",
            Self::BpfFileSystem => "bpf-file-system",
            Self::FormerPins => "pins-of-an-earlier-version",
            Self::Cgroup => "cgroup",
            Self::Forwarding => "forwarding",
            Self::SourcePorts => "source-ports",
            Self::Lb0 => "lb0",
            Self::Devices => "devices",
            Self::RunningAgent => "running-agent",
            Self::Services => "services",
            Self::Manifests => "manifests",
            Self::Masquerading => "masquerading",
            Self::Programs => "programs",
            Self::NodePorts => "node-ports",
            Self::Drift => "drift",
            Self::UdpSockets => "udp-sockets",
            Self::FullMaps => "full-maps",
            Self::OtherSoftware => "other-software",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_topic_has_its_heading_and_every_heading_its_topic() {
        use Topic::*;
        let all = [
            Kernel,
            Capabilities,
            BpfFileSystem,
            FormerPins,
            Cgroup,
            Forwarding,
            SourcePorts,
            Lb0,
            Devices,
            RunningAgent,
            Services,
            Manifests,
            Masquerading,
            Programs,
            NodePorts,
            Drift,
            UdpSockets,
            FullMaps,
            OtherSoftware,
        ];
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        let text = fs::read_to_string(page).unwrap();
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let slugs: Vec<String> = headings
            .map(|h| h.to_lowercase().replace(' ', "-"))
            .collect();
        assert_eq!(slugs, all.map(Topic::anchor));
    }
}

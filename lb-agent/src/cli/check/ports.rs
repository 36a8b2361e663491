//! The ports of rewritten sources: how many there are, and whether the kernel leaves ours alone.

use std::path::Path;

use anyhow::Result;
use lb_common::flow::{PortRanges, SNAT_PORTS};

use super::{Line, Verdict, topics::Topic};
use crate::{
    flows::{
        port_table::{self, FEW, PortTable},
        ports::{in_words, local_range},
        sysctl,
    },
    maps::{dir::BpfDir, pinned::Access},
    settings::{
        flags::SnatArgs,
        values::{PortRange, SnatPorts},
    },
};

/// Late packets to these ports are taken for replies to rewritten sources, so the node's own
/// sockets must not get them.
pub(super) fn own_range() -> Line {
    let (first, last) = SNAT_PORTS;
    let name = format!("ports {first}-{last} are not given to sockets");
    match sysctl::read("net.ipv4.ip_local_port_range") {
        Ok(text) => Line::fails_if(
            Topic::SourcePorts,
            overlaps(&text, SNAT_PORTS),
            &name,
            format!(
                "net.ipv4.ip_local_port_range is {}; lower its end to {}",
                text.replace('\t', "-"),
                first - 1
            ),
        ),
        Err(error) => Line::new(
            Topic::SourcePorts,
            &name,
            Verdict::Warn,
            format!("cannot read net.ipv4.ip_local_port_range: {error}"),
        ),
    }
}

/// Those in the map, where an agent runs or has run; else those that one with these flags would
/// use.
pub(super) fn free(pins: &Path, args: &SnatArgs) -> Line {
    match in_use(pins).map_or_else(|| expected(args), Ok) {
        Ok(ports) => enough(&ports),
        Err(error) => Line::new(
            Topic::SourcePorts,
            "ports for rewritten sources",
            Verdict::Warn,
            format!("{error:#}"),
        ),
    }
}

fn in_use(pins: &Path) -> Option<PortRanges> {
    let table = PortTable::open(&BpfDir::at(pins), Access::Read).ok()?;
    table.read().ok().filter(|ports| ports.total > 0)
}

fn expected(args: &SnatArgs) -> Result<PortRanges> {
    let words = args.snat_ports.as_deref().unwrap_or(&[SnatPorts::Auto]);
    let node_ports = args.node_port_range.unwrap_or(PortRange::NODE_PORTS);
    Ok(port_table::look(words, node_ports, Vec::new())?.free())
}

fn enough(ports: &PortRanges) -> Line {
    let name = format!(
        "{} ports for rewritten sources ({})",
        ports.total,
        in_words(ports)
    );
    if ports.total >= FEW {
        return Line::ok(Topic::SourcePorts, &name);
    }
    Line::new(
        Topic::SourcePorts,
        &name,
        Verdict::Warn,
        "few: so many clients of one backend on another node can have the same source port; narrow net.ipv4.ip_local_port_range, or see --snat-ports",
    )
}

fn overlaps(range: &str, (first, last): (u16, u16)) -> bool {
    local_range(range).is_some_and(|local| *local.start() <= last && *local.end() >= first)
}

#[cfg(test)]
mod tests {
    use lb_common::flow::PortRange as Range;

    use super::*;

    #[test]
    fn overlapping_port_ranges_are_found() {
        assert!(!overlaps("32768\t60999\n", SNAT_PORTS));
        assert!(overlaps("32768\t61000\n", SNAT_PORTS));
        assert!(overlaps("1024\t65535\n", SNAT_PORTS));
        assert!(!overlaps("", SNAT_PORTS));
    }

    #[test]
    fn ports_are_shown_and_few_of_them_are_a_warning() {
        let of = |count| {
            let ports = PortRanges::new(&[Range { first: 2000, count }]);
            enough(&ports).text()
        };
        assert_eq!(
            of(20_000),
            "ok    20000 ports for rewritten sources (2000-21999)\n"
        );
        assert!(of(1).starts_with("warn  1 ports for rewritten sources (2000): few"));
    }
}

use proptest::prelude::*;

use super::*;

/// A machine with the kernel's own settings, and no node port outside of the usual range.
fn usual() -> Taken {
    Taken {
        words: vec![SnatPorts::Auto],
        local: 32768..=60999,
        reserved: Vec::new(),
        node_ports: values::PortRange::NODE_PORTS,
        programmed: Vec::new(),
    }
}

fn words(list: &str) -> Vec<SnatPorts> {
    list.split(',').map(|word| word.parse().unwrap()).collect()
}

fn all(ports: &PortRanges) -> Vec<u16> {
    (0..ports.total).map(|n| ports.nth(n)).collect()
}

#[test]
fn a_usual_machine_has_at_least_28000_ports() {
    let free = usual().free();
    assert_eq!(in_words(&free), "1024-29999, 61000-65535");
    assert_eq!(free.total, 33512);
    assert!(free.total >= 28_000);
}

#[test]
fn node_ports_and_reserved_ones_are_left_out_wherever_they_are() {
    let taken = Taken {
        reserved: vec![8080..=8080, 9000..=9009],
        programmed: vec![30080, 443, 20000],
        ..usual()
    };
    assert_eq!(
        in_words(&taken.free()),
        "1024-8079, 8081-8999, 9010-19999, 20001-29999, 61000-65535"
    );
}

#[test]
fn a_list_says_which_ports_and_may_add_to_the_usual_ones() {
    let of = |list: &str| {
        let taken = Taken {
            words: words(list),
            ..usual()
        };
        in_words(&taken.free())
    };
    assert_eq!(of("61000-65535"), "61000-65535");
    // The operator has reserved them.
    assert_eq!(
        of("auto,40000-49999"),
        "1024-29999, 40000-49999, 61000-65535"
    );
    assert_eq!(of("29000-33000"), "29000-29999, 32768-33000");
    assert_eq!(of("30000-32767"), "none");
}

#[test]
fn of_too_many_ranges_the_largest_remain() {
    let taken = Taken {
        words: words("1024-5000"),
        // Ten ranges; the two smallest are of one and of two ports.
        programmed: vec![1026, 1028, 1100, 1200, 1300, 1400, 1500, 1600, 1700],
        ..usual()
    };
    let free = taken.free();
    assert!(free.ranges.iter().all(|range| range.count > 2));
    assert_eq!(free.ranges[0].first, 1029);
}

#[test]
fn settings_are_read_as_the_kernel_shows_them() {
    assert_eq!(local_range("32768\t60999"), Some(32768..=60999));
    assert_eq!(local_range("32768"), None);
    assert_eq!(reserved_ranges(""), Some(Vec::new()));
    assert_eq!(
        reserved_ranges("8080,9000-9009"),
        Some(vec![8080..=8080, 9000..=9009])
    );
    assert_eq!(reserved_ranges("web"), None);
}

proptest! {
    #[test]
    fn no_port_that_another_may_get_is_ever_free(
        local in (1u16.., 1u16..),
        reserved in prop::collection::vec((1u16.., 0u16..2000), 0..6),
        programmed in prop::collection::vec(1u16.., 0..40),
        list in prop::option::of((1u16.., 0u16..20000)),
    ) {
        let (low, high) = (local.0.min(local.1), local.0.max(local.1));
        let reserved: Vec<_> = reserved.iter().map(|(first, n)| *first..=first.saturating_add(*n)).collect();
        let listed = list.map(|(first, n)| first..=first.saturating_add(n));
        let mut words = vec![SnatPorts::Auto];
        if let Some(range) = &listed {
            let text = format!("{}-{}", range.start(), range.end());
            words.push(SnatPorts::Range(text.parse().unwrap()));
        }
        let taken = Taken { words, local: low..=high, reserved, programmed, ..usual() };
        let free = taken.free();
        let ports = all(&free);
        for pair in ports.windows(2) {
            prop_assert!(pair[0] < pair[1], "{pair:?}: in order, each once");
        }
        for port in ports {
            prop_assert!(!taken.node_ports.ports().contains(&port), "{port} is a node port");
            prop_assert!(!taken.programmed.contains(&port), "{port} is a node port of a Service");
            let is_listed = listed.as_ref().is_some_and(|range| range.contains(&port));
            prop_assert!(is_listed || port >= FIRST, "{port} is well known");
            prop_assert!(is_listed || !taken.local.contains(&port), "{port} is given to sockets");
            prop_assert!(is_listed || !taken.reserved.iter().any(|r| r.contains(&port)), "{port} is reserved");
        }
    }
}

use super::*;

const PAIR: VethPair = VethPair { device: 7, peer: 6 };

fn net(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn desired(networks: &[&str]) -> Desired {
    Desired {
        networks: networks.iter().map(|n| net(n)).collect(),
        source_v4: Some(Ipv4Addr::new(198, 18, 0, 11)),
        services_listed: true,
        networks_known: true,
        ..Desired::default()
    }
}

#[test]
fn routes_for_replies_come_first_and_a_correct_route_is_not_written_again() {
    let desired = desired(&["10.96.0.0/16", "fd66:96::/112"]);
    let routes = routes(PAIR, &desired);
    let first = changes(&Routes::new(), &routes, &desired);
    let backs = first[..2].iter();
    assert!(
        backs.into_iter().all(
            |s| matches!(s, Change::Add(_, next) if next.ifindex == 6 && next.source.is_none())
        ),
        "{first:?}"
    );
    assert_eq!(first.len(), 7, "{first:?}");
    assert!(changes(&routes, &routes, &desired).is_empty());
}

#[test]
fn an_extra_route_goes_once_services_are_listed_and_another_source_replaces_a_route() {
    let actual = routes(PAIR, &desired(&["10.96.0.0/16", "10.97.0.1/32"]));
    let mut other = desired(&["10.96.0.0/16"]);
    other.source_v4 = Some(Ipv4Addr::new(198, 18, 0, 12));
    let routes = routes(PAIR, &other);
    let unknown = Desired {
        services_listed: false,
        ..other.clone()
    };
    let some = changes(&actual, &routes, &unknown);
    assert!(
        matches!(some[..], [Change::Replace((MAIN, n), _)] if n == net("10.96.0.0/16")),
        "{some:?}"
    );
    let all = changes(&actual, &routes, &other);
    assert!(
        matches!(all[..], [Change::Replace(..), Change::Remove((MAIN, n), _)] if n == net("10.97.0.1/32")),
        "{all:?}"
    );
}

/// An API server before 1.33 serves no service networks: each VIP has a route of its own, and loses
/// it.
#[test]
fn while_networks_are_unknown_routes_of_addresses_go_and_those_of_networks_stay() {
    let actual = routes(
        PAIR,
        &desired(&["10.96.0.0/16", "10.97.0.1/32", "10.97.0.2/32"]),
    );
    let some = Desired {
        networks_known: false,
        ..desired(&["10.97.0.1/32"])
    };
    let changes = changes(&actual, &routes(PAIR, &some), &some);
    assert!(
        matches!(changes[..], [Change::Remove((MAIN, n), _)] if n == net("10.97.0.2/32")),
        "{changes:?}"
    );
}

use lb_common::backend;

use super::*;
use crate::model::BackendState;

pub(crate) fn row(
    addr: Addr,
    port: u16,
    scope: &'static str,
    pool: u32,
    backends: Vec<Member>,
) -> Frontend {
    Frontend {
        protocol: "TCP".into(),
        address: addr.to_string(),
        port,
        service: None,
        kinds: vec!["ClusterIP"],
        scopes: vec![Scope {
            name: scope,
            pool,
            stats: Stats::default(),
            tcp: None,
        }],
        scheduler: "random",
        affinity_seconds: 0,
        max_connections: 0,
        max_connection_age_seconds: 0,
        without_backends: None,
        source_ranges: false,
        snat: false,
        backends,
        order: (addr, 6, FaceKind::Vip),
    }
}

pub(crate) fn backend(n: u8) -> Member {
    let b = Backend {
        addr: Addr::v4([10, 0, 0, n]),
        port: 80,
        weight: 100,
        ..Backend::FREE
    };
    member(n.into(), b, Eligibility::Eligible, 100, Open::default())
}

#[test]
fn scopes_with_the_same_backends_are_one_row() {
    let (a, v6) = (Addr::v4([10, 96, 0, 1]), Addr::v6([0xfd; 16]));
    let rows = merged(vec![
        row(v6, 80, "inside", 4, vec![]),
        row(a, 443, "outside", 3, vec![backend(2)]),
        row(a, 443, "inside", 2, vec![backend(1), backend(2)]),
        row(a, 80, "outside", 1, vec![backend(1)]),
        row(a, 80, "inside", 0, vec![backend(1)]),
    ]);
    let found: Vec<_> = rows
        .iter()
        .map(|r| (r.port, r.scopes.iter().map(|s| s.pool).collect::<Vec<_>>()))
        .collect();
    assert_eq!(
        found,
        [
            (80, vec![0, 1]),
            (443, vec![2]),
            (443, vec![3]),
            (80, vec![4])
        ]
    );
}

#[test]
fn a_member_without_a_slot_is_draining() {
    let b = Backend {
        addr: Addr::v6([0xfd; 16]),
        port: 80,
        weight: 100,
        state: backend::state::TERMINATING,
        ..Backend::FREE
    };
    let open = Open {
        sockets: 1,
        flows: FlowCounts {
            active: 2,
            inactive: -1,
        },
    };
    let m = member(1, b, Eligibility::Draining, 7, open);
    assert_eq!(
        (m.state, m.weight, m.active_connections),
        (BackendState::Draining, 0, 3)
    );
    assert!(m.address.starts_with('['));
    assert_eq!(
        member(1, b, Eligibility::Eligible, 7, Open::default()).state,
        BackendState::Terminating
    );
}

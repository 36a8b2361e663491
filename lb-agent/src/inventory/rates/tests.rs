use lb_common::tcp::BUCKETS;

use super::*;

fn counted(connections: u64) -> Counted {
    let mut rtt = [0; BUCKETS];
    rtt[4] = connections;
    Counted {
        stats: Stats {
            connections,
            ..Stats::default()
        },
        tcp: Some(TcpCounts {
            rtt,
            rtt_sum_us: connections * 1000,
            failures: connections / 2,
            retransmits: connections * 2,
        }),
        active: BTreeMap::from([(1, 2), (2, 3)]),
        service: None,
    }
}

#[test]
fn rates_are_differences_by_time() {
    let key = |name: &str| ("TCP".to_owned(), name.to_owned());
    let before = All::from([(key("a"), counted(10)), (key("b"), counted(10))]);
    let now = All::from([
        (key("a"), counted(14)),
        (key("b"), counted(30)),
        (key("c"), counted(50_000)),
    ]);
    let rates = between(&before, &now, 2.0);
    let found: Vec<(Option<&str>, f64, u64)> = rates
        .iter()
        .map(|r| {
            (
                r.frontend.as_deref(),
                r.connections_per_second,
                r.active_connections,
            )
        })
        .collect();
    // The new one has a rate from the next look on.
    assert_eq!(found, [(Some("a"), 2.0, 5), (Some("b"), 10.0, 5)]);
    let tcp = |r: &Rates| {
        (
            r.handshakes_per_second,
            r.round_trip_seconds,
            r.connect_failures_per_second,
            r.retransmits_per_second,
        )
    };
    let expected = (Some(10.0), Some(0.001), Some(5.0), Some(20.0));
    assert_eq!(tcp(&rates[1]), expected);
    // A pool that begins anew counts nothing for once.
    assert!(between(&now, &before, 2.0)[0].connections_per_second.abs() < 0.1);
    // Nobody has connected meanwhile.
    assert_eq!(between(&now, &now, 2.0)[0].round_trip_seconds, None);
}

#[test]
fn nodes_are_added_up_and_a_mean_weighs_handshakes() {
    let node = |handshakes: Option<f64>, rtt: Option<f64>| Rates {
        connections_per_second: 1.0,
        active_connections: 2,
        handshakes_per_second: handshakes,
        round_trip_seconds: rtt,
        retransmits_per_second: handshakes,
        ..Rates::default()
    };
    let mut sum = Rates::default();
    // One that is idle, one of a version that does not tell.
    for one in [
        node(Some(3.0), Some(0.001)),
        node(Some(1.0), Some(0.005)),
        node(Some(0.0), None),
        node(None, None),
    ] {
        sum.add(one);
    }
    assert_eq!(sum.active_connections, 8);
    assert_eq!(sum.round_trip_seconds, Some(0.002));
    assert_eq!(sum.retransmits_per_second, Some(4.0));
    assert_eq!(sum.connect_failures_per_second, None);
}

#[test]
fn what_an_older_agent_tells_is_read() {
    let text = r#"{"service": null, "frontend": "10.96.0.1:80", "protocol": "TCP",
        "connectionsPerSecond": 1.5, "activeConnections": 3, "packetsPerSecond": 0,
        "bytesPerSecond": 0.0, "rejectsPerSecond": 0.0, "colour": "blue"}"#;
    let rates: Rates = serde_json::from_str(text).unwrap();
    assert_eq!(
        (rates.name().as_str(), rates.active_connections),
        ("10.96.0.1:80", 3)
    );
    assert_eq!(rates.round_trip_seconds, None);
}

#[test]
fn counts_of_any_size_are_summed() {
    const MOST: u64 = u64::MAX;
    let of = |n: u64| Counted {
        stats: Stats {
            connections: n,
            packets: n,
            bytes: n,
            rejects: n,
        },
        tcp: Some(TcpCounts {
            rtt: [n; BUCKETS],
            rtt_sum_us: n,
            failures: n,
            retransmits: n,
        }),
        active: BTreeMap::from([(1, n), (2, n)]),
        service: None,
    };
    let all = |counted: Counted| All::from([(("TCP".to_owned(), "a".to_owned()), counted)]);
    let mut twice = of(MOST).stats;
    twice += of(MOST).stats;
    assert_eq!(twice, of(MOST).stats);
    let mut rates = between(&all(of(0)), &all(of(MOST)), 1.0).remove(0);
    assert_eq!(rates.active_connections, MOST);
    rates.add(rates.clone());
    assert_eq!(rates.active_connections, MOST);
    assert!(rates.connections_per_second > 1e19);
    // Handshakes that took no time, and a sum of times that nobody's handshakes took.
    let tcp = |handshakes, rtt_sum_us| {
        let mut counted = of(0);
        let tcp = counted.tcp.as_mut().unwrap();
        (tcp.rtt[0], tcp.rtt_sum_us) = (handshakes, rtt_sum_us);
        between(&all(of(0)), &all(counted), 1.0)[0].round_trip_seconds
    };
    assert_eq!(tcp(2, 0), Some(0.0));
    assert_eq!(tcp(0, MOST), None);
    assert!(tcp(1, MOST).unwrap() > 1e13);
    // What wraps counts nothing for once.
    let wrapped = between(&all(of(u32::MAX.into())), &all(of(4)), 1.0).remove(0);
    assert_eq!(wrapped.retransmits_per_second, Some(0.0));
    assert_eq!(wrapped.round_trip_seconds, None);
}

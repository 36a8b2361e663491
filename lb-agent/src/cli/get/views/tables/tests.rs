use lb_common::Addr;

use super::*;
use crate::inventory::{
    Scope, ServicePort,
    tests::{backend, row},
};

/// A Service with two backends behind two pools, and one without any.
fn frontends() -> [Frontend; 2] {
    let [mut one, mut two] = [backend(1), backend(2)];
    one.place.pod = Some("shop/web-1".to_owned());
    one.active_connections = 12;
    two.inactive_connections = 3;
    let mut web = row(Addr::v4([10, 96, 0, 10]), 80, "inside", 4, vec![one, two]);
    web.affinity_seconds = 600;
    web.max_connections = 50;
    web.service = Some(ServicePort {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        port: "http".to_owned(),
    });
    let outside = Scope {
        name: "outside",
        pool: 7,
        stats: Stats::default(),
        tcp: None,
    };
    web.scopes.push(outside);
    for (scope, n) in web.scopes.iter_mut().zip([100, 1]) {
        scope.stats = Stats {
            connections: n,
            packets: 10 * n,
            bytes: 1_000 * n,
            rejects: n / 50,
        };
    }
    let mut other = row(Addr::v4([10, 96, 0, 11]), 443, "inside", 5, Vec::new());
    // Both scopes lead to one pool.
    other.scopes.push(other.scopes[0].clone());
    other.scopes[0].stats.rejects = 9;
    [web, other]
}

fn shown(table: impl Fn(&[&Frontend], Headers) -> String) -> String {
    let all = frontends();
    let all: Vec<&Frontend> = all.iter().collect();
    let text = table(&all, Headers::Shown);
    let without = table(&all, Headers::Hidden);
    let lines = without.lines().map(|line| line.split_whitespace());
    let same = text.lines().skip(2).map(|line| line.split_whitespace());
    assert!(same.map(Vec::from_iter).eq(lines.map(Vec::from_iter)));
    text
}

#[test]
fn counts_are_of_all_pools_of_a_frontend() {
    insta::assert_snapshot!(shown(stats), @r"
    Prot LocalAddress:Port    Conns Packets Bytes  Rejects Pool Service
      -> RemoteAddress:Port                                     Pod
    TCP  10.96.0.10:80        101   1010    101000 2       4,7  shop/web:http
      -> 10.0.0.1:80          -     -       -      -       -    shop/web-1
      -> 10.0.0.2:80          -     -       -      -       -    -
    TCP  10.96.0.11:443       0     0       0      9       5    -
    ");
}

#[test]
fn rates_are_of_pools_that_were_there_before() {
    let was = Stats {
        connections: 90,
        ..Stats::default()
    };
    let before = BTreeMap::from([(4, was), (7, Stats::default())]);
    let rate = |all: &[&Frontend], headers: Headers| rate(all, headers, &before, 2.0);
    insta::assert_snapshot!(shown(rate), @r"
    Prot LocalAddress:Port    CPS PPS   BPS     Rejects/s Pool Service
      -> RemoteAddress:Port                                    Pod
    TCP  10.96.0.10:80        5.5 505.0 50500.0 1.0       4,7  shop/web:http
      -> 10.0.0.1:80          -   -     -       -         -    shop/web-1
      -> 10.0.0.2:80          -   -     -       -         -    -
    TCP  10.96.0.11:443       -   -     -       -         5    -
    ");
}

#[test]
fn bounds_stand_beside_what_is_open() {
    insta::assert_snapshot!(shown(thresholds), @r"
    Prot LocalAddress:Port    Scheduler Service       Flags
      -> RemoteAddress:Port   Uthreshold Lthreshold ActiveConn InActConn Pod
    TCP  10.96.0.10:80        random    shop/web:http ClusterIP persistent 600 max-connections 50
      -> 10.0.0.1:80          50         0          12         0         shop/web-1
      -> 10.0.0.2:80          50         0          0          3         -
    TCP  10.96.0.11:443       random    -             ClusterIP
    ");
}

#[test]
fn clients_are_those_of_a_backend_in_the_pools_of_a_frontend() {
    let [web, _] = frontends();
    let id = web.backends[0].id;
    let kept = BTreeMap::from([((4, id), 2), ((7, id), 1), ((5, id), 50)]);
    let persistent = |all: &[&Frontend], headers: Headers| persistent(all, headers, &kept);
    insta::assert_snapshot!(shown(persistent), @r"
    Prot LocalAddress:Port    Scheduler Service       Flags
      -> RemoteAddress:Port   Weight PersistConn ActiveConn InActConn Pod
    TCP  10.96.0.10:80        random    shop/web:http ClusterIP persistent 600 max-connections 50
      -> 10.0.0.1:80          100    3           12         0         shop/web-1
      -> 10.0.0.2:80          100    0           0          3         -
    TCP  10.96.0.11:443       random    -             ClusterIP
    ");
}

use super::*;
use crate::model::{Event, Service};

fn ip(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    [10, 96, high, low].into()
}

fn on(device: &str, all: impl IntoIterator<Item = u16>) -> Vec<(IpAddr, String)> {
    let all = all.into_iter().map(|n| (ip(n), device.to_owned()));
    all.collect()
}

/// Services at these addresses.
fn cluster(all: impl IntoIterator<Item = u16>) -> Cluster {
    let mut cluster = Cluster::default();
    for n in all {
        cluster.apply(Event::Service(Service::cluster_ip(&n.to_string(), ip(n))));
    }
    cluster
}

fn listens(n: u16, port: u16) -> Listener {
    Listener {
        proto: Proto::Tcp,
        addr: ip(n),
        port,
    }
}

#[test]
fn ports_of_a_process_are_its_own_and_addresses_that_nobody_serves_are_told_at_the_second_look() {
    let mut seen = Held::default();
    let holders = on("dummy", 1..=5000);
    let cluster = cluster(1..=4999);
    let mut take = |found| {
        let changed = seen.take(found, &holders, &cluster);
        (changed, seen.left_behind(), seen.listening().to_vec())
    };
    let found = || Ok(vec![listens(53, 53), listens(6000, 53)]);
    let (changed, left, listening) = take(found());
    assert!(changed, "other ports than before");
    assert_eq!(listening, [(Proto::Tcp, ip(53), 53)]);
    assert_eq!(left, BTreeMap::new(), "a process may start");
    let (changed, left, _) = take(found());
    assert!(!changed);
    let others: Vec<IpAddr> = (1..=4999).filter(|n| *n != 53).map(ip).collect();
    assert_eq!(left, [("dummy".to_owned(), others)].into());
    // What cannot be listed changes nothing.
    let failed = take(Err(io::Error::other("no")));
    assert_eq!(failed, (false, left, listening));
    // Nobody has a cluster IP any more.
    assert!(seen.take(found(), &[], &cluster) && seen.is_empty());
    assert_eq!(seen.listening(), []);
}

#[test]
fn the_device_of_an_address_is_found_among_many() {
    let mut holders = [on("a", [1, 3]), on("b", [3, 5])].concat();
    holders.sort_unstable();
    let found = [0, 1, 2, 3, 5, 6].map(|n| holder(&holders, &ip(n)));
    assert_eq!(found, [None, Some("a"), None, Some("b"), Some("b"), None]);
    assert_eq!(holder(&[], &ip(1)), None);
}

#[tokio::test]
async fn sockets_are_listed_beside_the_loop_and_a_look_at_once_counts_instead() {
    let mut seen = Held::default();
    seen.list();
    seen.list();
    assert_eq!(seen.listing.len(), 1, "one at a time");
    assert!(seen.listed().await.is_ok());
    assert!(seen.listing.is_empty());
    seen.list();
    seen.look(&[], &Cluster::default());
    assert!(seen.listing.is_empty(), "what it finds is older");
}

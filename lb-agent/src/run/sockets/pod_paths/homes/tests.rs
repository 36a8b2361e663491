use super::{super::Decided, *};
use crate::{model::ObjectKey, sockets::namespaces::Finding};

fn pod(uid: &str, ip: &str, annotation: Option<&str>) -> Pod {
    Pod {
        key: ObjectKey::new("shop", uid),
        uid: uid.to_owned(),
        cgroup_uid: uid.to_owned(),
        host_network: false,
        ips: vec![ip.parse().unwrap()],
        annotation: annotation.map(str::to_owned),
        guess: None,
        is_ending: false,
        created: None,
    }
}

fn look(namespaces: &[(u64, &str, Option<Reason>)], pods: &[(&str, u64)]) -> Look {
    let finding = |(cookie, ip, reason): &(u64, &str, Option<Reason>)| {
        let addresses = BTreeSet::from([ip.parse().unwrap()]);
        (
            *cookie,
            Finding {
                reason: *reason,
                addresses,
                unread: None,
            },
        )
    };
    Look {
        namespaces: namespaces.iter().map(finding).collect(),
        pods: pods
            .iter()
            .map(|(uid, cookie)| ((*uid).to_owned(), *cookie))
            .collect(),
        ..Look::default()
    }
}

fn all_words(pods: &[Pod], look: &Look) -> BTreeMap<u64, Word> {
    let pods = pods.iter().map(|pod| (pod.key.clone(), pod.clone()));
    let pods = Pods {
        pods: pods.collect(),
        ..Pods::default()
    };
    Decided::of(&pods, look).words
}

fn words(pods: &[Pod], look: &Look) -> BTreeMap<u64, Path> {
    all_words(pods, look)
        .into_iter()
        .map(|(cookie, word)| (cookie, word.path))
        .collect()
}

#[test]
fn a_pod_is_where_its_processes_are_or_else_where_its_address_is() {
    let off = |uid, ip| pod(uid, ip, Some("off"));
    let there = look(&[(1, "10.0.0.1", None), (2, "10.0.0.2", None)], &[("a", 2)]);
    let found = words(&[off("a", "10.0.0.1")], &there);
    assert_eq!(found, BTreeMap::from([(2, Path::Packet)]));
    let found = words(&[off("b", "10.0.0.1")], &there);
    assert_eq!(found, BTreeMap::from([(1, Path::Packet)]));
    // Not another pod's, whatever addresses it has.
    assert!(words(&[off("b", "10.0.0.2")], &there).is_empty());
}

#[test]
fn a_pod_with_two_addresses_in_one_place_is_there_for_certain() {
    let mut on = pod("a", "10.0.0.1", Some("on"));
    on.ips.push("fd00::1".parse().unwrap());
    let mut there = look(&[(1, "10.0.0.1", Some(Reason::Rules))], &[]);
    let finding = there.namespaces.get_mut(&1).unwrap();
    finding.addresses.extend(&on.ips);
    assert_eq!(words(&[on], &there), BTreeMap::from([(1, Path::Socket)]));
}

#[test]
fn who_is_translated_against_what_is_seen_must_be_certain() {
    let on = |uid, ip| pod(uid, ip, Some("on"));
    let rules = Some(Reason::Rules);
    let one = look(&[(1, "10.0.0.1", rules)], &[]);
    assert_eq!(
        words(&[on("a", "10.0.0.1")], &one),
        BTreeMap::from([(1, Path::Socket)])
    );
    // A nested cluster's pod has the same address.
    let two = look(&[(1, "10.0.0.1", rules), (2, "10.0.0.1", rules)], &[]);
    assert!(words(&[on("a", "10.0.0.1")], &two).is_empty());
    let off = pod("a", "10.0.0.1", Some("off"));
    assert_eq!(words(&[off], &two).len(), 2);
}

#[test]
fn an_address_is_that_of_the_pod_that_has_it_now() {
    let on = |uid, created: i64| Pod {
        created: jiff::Timestamp::from_second(created).ok(),
        ..pod(uid, "10.0.0.1", None)
    };
    let off = |uid, created| Pod {
        annotation: Some("off".to_owned()),
        ..on(uid, created)
    };
    let there = look(&[(1, "10.0.0.1", None)], &[]);
    // One that ends names what the next one has.
    let ending = Pod {
        is_ending: true,
        ..off("a", 2)
    };
    assert!(words(&[ending.clone(), on("b", 1)], &there).is_empty());
    assert!(words(&[off("a", 1), on("b", 2)], &there).is_empty());
    assert_eq!(words(&[on("a", 1), off("b", 2)], &there).len(), 1);
    // Until then it is its own.
    assert_eq!(words(&[ending], &there).len(), 1);
}

#[test]
fn what_a_pod_says_of_its_own_place_matters_most() {
    let off = |uid, ip| pod(uid, ip, Some("off"));
    let rank = |pods: &[Pod], look: &Look| all_words(pods, look)[&1].rank;
    let two = [(1, "10.0.0.1", None), (2, "10.0.0.1", None)];
    let possible = rank(&[off("a", "10.0.0.1")], &look(&two, &[]));
    assert_eq!(possible, Rank::Possible);
    let own = rank(&[off("a", "10.0.0.1")], &look(&two, &[("a", 1)]));
    assert_eq!(own, Rank::Asked);
    let rules = look(&[(1, "10.0.0.1", Some(Reason::Rules))], &[]);
    assert_eq!(rank(&[pod("a", "10.0.0.1", None)], &rules), Rank::Found);
}

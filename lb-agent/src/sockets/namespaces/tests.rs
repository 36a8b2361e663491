use nix::errno::Errno;

use super::*;

const RULES: Finding = Finding {
    reason: Some(Reason::Rules),
    addresses: BTreeSet::new(),
};

#[tokio::test]
async fn a_look_that_has_no_time_keeps_what_was_known() {
    let before = BTreeMap::from([(7, RULES)]);
    let question = Question {
        before: before.clone(),
        until: Some(Instant::now()),
        ..Question::default()
    };
    let (look, _) = look(Memory::default(), question, |_| Ok(false))
        .await
        .unwrap();
    assert!(look.is_partial);
    assert_eq!(look.namespaces, before);
}

#[test]
fn what_cannot_be_entered_is_as_it_was_known() {
    let before = BTreeMap::from([(7, RULES)]);
    let closed = |errno: Errno| Closed {
        path: PathBuf::from("/proc/1/ns/net"),
        error: errno.into(),
    };
    let mut look = Look::default();
    look.miss((4, 1), &closed(Errno::EMFILE), Some(&7), &before);
    assert_eq!((&look.namespaces, look.is_partial), (&before, false));
    assert_eq!(
        look.missed[&(4, 1)],
        "net:[1] (/proc/1/ns/net): Too many open files (os error 24)"
    );
    // Of what may never be entered nothing can be known; the rest may be known next time.
    look.miss((4, 2), &closed(Errno::EPERM), None, &before);
    assert!(!look.is_partial);
    look.miss((4, 3), &closed(Errno::EMFILE), None, &before);
    assert!(look.is_partial);
    assert_eq!((look.namespaces.len(), look.missed.len()), (1, 3));
}

#[test]
fn a_part_that_cannot_be_read_is_as_it_was_known() {
    let refuse = |_: IpAddr| Err(io::Error::from(Errno::EIO));
    let (finding, failed) = judge(Some(&RULES), refuse);
    // The tests' own namespace has addresses, and none of them can be asked for.
    assert!(failed.is_some());
    assert_eq!(finding.reason, Some(Reason::Rules));
    assert!(!finding.addresses.is_empty());
}

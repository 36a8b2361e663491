use nix::errno::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::{judge::conclude, *};

const RULES: Finding = Finding {
    reason: Some(Reason::Rules),
    addresses: BTreeSet::new(),
    unread: None,
};

/// That nothing of it was ever read, and why not.
fn unread(errno: Errno) -> Finding {
    let why = io::Error::from(errno).to_string();
    Finding {
        unread: Some(Unread { why, always: true }),
        ..Finding::default()
    }
}

#[tokio::test]
async fn a_look_that_has_no_time_keeps_what_was_known() {
    let before = BTreeMap::from([(7, RULES)]);
    let question = Question {
        before: before.clone(),
        until: Some(Instant::now()),
        ..Question::default()
    };
    let look = look(&mut Memory::default(), question, |_| Ok(false))
        .await
        .unwrap();
    assert!(look.is_partial);
    assert_eq!(look.namespaces, before);
}

/// Neither are processes asked where they are.
#[test]
fn who_may_enter_none_tries_none_and_forgets_nothing() {
    let cookies = BTreeMap::from([((4, 1), 7)]);
    let mut memory = Memory {
        cookies: cookies.clone(),
        ..Memory::default()
    };
    // The rights are the thread's.
    let without_rights = std::thread::spawn(move || {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        set_capabilities(None, sets).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let look = look(&mut memory, Question::default(), |_| Ok(false));
        (runtime.unwrap().block_on(look), memory)
    });
    let (look, memory) = without_rights.join().unwrap();
    let error = look.unwrap_err().downcast::<io::Error>().unwrap();
    assert_eq!(error.raw_os_error(), Some(Errno::EPERM as i32));
    assert_eq!(memory.cookies, cookies);
    let untouched = format!("{:?}", Processes::default());
    assert_eq!(format!("{:?}", memory.processes), untouched);
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
    assert!(!look.has_strangers);
    assert_eq!(
        look.missed[&(4, 1)],
        "net:[1] (/proc/1/ns/net): Too many open files (os error 24)"
    );
    // Of what was never entered nothing is known. It tells nothing of others, however long it lasts.
    for (id, errno) in [((4, 2), Errno::EPERM), ((4, 3), Errno::EMFILE)] {
        look.has_strangers = false;
        look.miss(id, &closed(errno), None, &before);
        assert_eq!((look.has_strangers, look.is_partial), (true, false));
    }
    assert_eq!((look.namespaces.len(), look.missed.len()), (1, 3));
}

#[test]
fn a_part_that_cannot_be_read_is_as_it_was_known() {
    let refuse = |_: IpAddr| Err(io::Error::from(Errno::EIO));
    let finding = judge(Some(&RULES), refuse);
    // The tests' own namespace has addresses, and none of them can be asked for.
    assert!(finding.unread.as_ref().is_some_and(|unread| !unread.always));
    assert_eq!(finding.reason, Some(Reason::Rules));
    assert!(!finding.addresses.is_empty());
}

/// The tables of iptables are read by the namespace's own root alone, or by who may read any file.
#[test]
fn rules_that_cannot_be_read_hide_no_address() {
    let ip = IpAddr::from([10, 96, 0, 1]);
    let refused = || Err(io::Error::from(Errno::EACCES));
    let look = |before: Option<&Finding>, rules, ips: &[IpAddr]| {
        let addresses = Ok((ips.iter().copied().collect(), true));
        conclude(before, rules, addresses, |asked| Ok(asked == ip))
    };
    let has_it = look(None, refused(), &[ip]);
    assert_eq!(has_it.reason, Some(Reason::Address));
    assert_eq!(has_it.unread, unread(Errno::EACCES).unread);
    // What was seen of it is no reason for ever.
    assert_eq!(look(Some(&has_it), refused(), &[]).reason, None);
    // But rules may still be there.
    let had_rules = look(Some(&RULES), refused(), &[ip]);
    assert_eq!(had_rules.reason, Some(Reason::Rules));
    assert!(!had_rules.is_unknown());
    assert_eq!(look(Some(&RULES), Ok(false), &[]), Finding::default());
}

#[test]
fn that_it_was_never_read_is_known_until_it_is() {
    let nothing = || Ok((BTreeSet::new(), true));
    let look = |before: Option<&Finding>, rules| conclude(before, rules, nothing(), |_| Ok(false));
    let refused = || Err(io::Error::from(Errno::EIO));
    let first = look(None, refused());
    assert!(first.is_unknown());
    let second = look(Some(&first), refused());
    assert!(second.is_unknown());
    let read = look(Some(&second), Ok(false));
    assert_eq!(read.unread, None);
    let again = look(Some(&read), refused());
    assert!(again.unread.is_some() && !again.is_unknown());
}

#[test]
fn one_that_is_not_read_again_is_still_unread() {
    let id = (4, 1);
    let question = Question {
        before: BTreeMap::from([(7, unread(Errno::EACCES))]),
        settled: BTreeSet::from([7]),
        ..Question::default()
    };
    let mut look = Look::default();
    look.see(id, 7, &question, |_| Ok(false));
    assert_eq!(look.namespaces, question.before);
    assert_eq!(
        look.missed,
        BTreeMap::from([(id, "net:[1]: Permission denied (os error 13)".to_owned())])
    );
}

use std::time::Duration;

use super::*;

const STEP: Duration = Duration::from_millis(200);
const MOST: usize = 64;

/// Of the backend.
const ID: u32 = 7;

struct Bed {
    quarantine: Quarantine,
    counts: Handshakes,
    now: Instant,
}

fn at() -> SocketAddr {
    SocketAddr::from(([10, 1, 0, 1], 8080))
}

impl Bed {
    /// A backend that was seen once.
    fn new() -> Self {
        let mut bed = Self {
            quarantine: Quarantine::default(),
            counts: Handshakes {
                failed: 40,
                answered: 2,
            },
            now: Instant::now(),
        };
        assert_eq!(bed.look(0, 0), None, "what was before says nothing");
        bed
    }

    fn look(&mut self, failed: u32, answered: u32) -> Option<Change> {
        self.now += STEP;
        self.counts.failed = self.counts.failed.wrapping_add(failed);
        self.counts.answered += answered;
        let counts = [(ID, self.counts)];
        self.quarantine.counted(at(), &counts, self.now)
    }

    fn tried(&mut self, after: Duration, answered: bool) -> Option<Change> {
        self.now += after;
        assert_eq!(self.quarantine.trials(self.now, MOST), [at()]);
        assert_eq!(self.quarantine.trials(self.now, MOST), [], "one at a time");
        self.quarantine.tried(at(), answered, self.now)
    }
}

#[test]
fn three_failures_without_an_answer_are_quarantine() {
    let mut bed = Bed::new();
    assert_eq!((bed.look(2, 0), bed.look(0, 1)), (None, None));
    assert_eq!((bed.look(1, 0), bed.look(1, 0)), (None, None));
    assert!(bed.quarantine.out().is_empty());
    assert_eq!(bed.look(1, 0), Some(Change::Failed));
    assert_eq!(bed.quarantine.out(), [at()]);
}

#[test]
fn failures_are_forgotten_and_answers_among_them_count() {
    let mut bed = Bed::new();
    bed.look(2, 0);
    bed.now += Duration::from_secs(10);
    assert_eq!(bed.look(2, 0), None);
    assert_eq!(bed.look(9, 1), None, "it answers others");
}

#[test]
fn trials_become_rarer_and_the_one_that_is_answered_ends_it() {
    let mut bed = Bed::new();
    assert_eq!(bed.look(3, 0), Some(Change::Failed));
    assert_eq!(bed.quarantine.trials(bed.now, MOST), [], "not at once");
    for pause in [1, 1, 2, 4, 4] {
        assert_eq!(bed.tried(Duration::from_secs(pause), false), None);
    }
    let answered = bed.tried(Duration::from_secs(4), true);
    assert_eq!(answered, Some(Change::Answered));
    assert!(bed.quarantine.out().is_empty());
    // On probation: one that waited fails once more, two are too many.
    assert_eq!(bed.look(1, 0), None);
    assert_eq!(bed.look(1, 0), Some(Change::Failed));
}

#[test]
fn an_answer_to_a_client_ends_it_and_so_does_time() {
    let mut bed = Bed::new();
    bed.look(3, 0);
    assert_eq!(bed.look(0, 1), Some(Change::Answered));
    bed.look(3, 0);
    assert_eq!(bed.quarantine.out(), [at()]);
    bed.now += Duration::from_mins(5);
    assert_eq!(bed.look(0, 0), Some(Change::Released));
    assert!(bed.quarantine.out().is_empty());
}

#[test]
fn counts_that_begin_anew_are_no_failures_and_who_goes_is_forgotten() {
    let mut bed = Bed::new();
    bed.counts = Handshakes::default();
    assert_eq!(bed.look(0, 0), None);
    bed.counts.failed = u32::MAX - 1;
    bed.look(0, 0);
    assert_eq!(bed.look(3, 0), Some(Change::Failed), "they wrap");
    bed.quarantine.keep(|_| false);
    assert!(bed.quarantine.out().is_empty());
}

/// These are in quarantine, each a second later than the one before.
fn out(all: &[SocketAddr]) -> (Quarantine, Instant) {
    let (mut quarantine, mut now) = (Quarantine::default(), Instant::now());
    for at in all {
        quarantine.counted(*at, &[(ID, Handshakes::default())], now);
        let counts = Handshakes {
            failed: 3,
            answered: 0,
        };
        let change = quarantine.counted(*at, &[(ID, counts)], now);
        assert_eq!(change, Some(Change::Failed));
        now += Duration::from_secs(1);
    }
    (quarantine, now)
}

#[test]
fn trials_are_few_at_a_time_and_who_waits_for_longest_is_first() {
    let at = |n| SocketAddr::from(([10, 1, 0, n], 8080));
    let (mut quarantine, now) = out(&[at(3), at(1), at(2)]);
    assert_eq!(quarantine.trials(now, 2), [at(3), at(1)]);
    assert_eq!(quarantine.trials(now, 0), []);
    assert_eq!(quarantine.trials(now, 2), [at(2)]);
    quarantine.tried(at(1), false, now);
    quarantine.tried(at(3), false, now + Duration::from_secs(1));
    let later = now + Duration::from_secs(9);
    assert_eq!(quarantine.trials(later, 1), [at(1)]);
}

#[test]
fn no_trial_goes_to_this_node_itself_or_out_of_the_cluster() {
    let all = [
        "127.0.0.1:80",
        "[::1]:80",
        "0.0.0.0:80",
        "[::]:80",
        "169.254.169.254:80",
        "[fe80::1]:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "10.1.0.1:80",
        "[fd00::1]:80",
    ];
    let all = all.map(|at| at.parse().expect("an address"));
    let (mut quarantine, now) = out(&all);
    assert_eq!(quarantine.trials(now, MOST), all[8..]);
}

#[test]
fn what_another_backend_had_counted_under_an_id_says_nothing() {
    let mut bed = Bed::new();
    let another = |failed, answered| (8, Handshakes { failed, answered });
    let ours = (ID, bed.counts);
    let mut look = |counts: &[Counted]| {
        bed.now += STEP;
        bed.quarantine.counted(at(), counts, bed.now)
    };
    assert_eq!(look(&[ours, another(900, 4)]), None, "while it moves");
    assert_eq!(look(&[ours, another(902, 4)]), None);
    assert_eq!(look(&[another(903, 4)]), Some(Change::Failed), "three");
    assert_eq!(look(&[ours, another(903, 4)]), None, "no answer either");
    assert_eq!(look(&[ours, another(903, 5)]), Some(Change::Answered));
}

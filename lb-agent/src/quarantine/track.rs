//! One backend: trusted, in quarantine, or trusted on probation.

use std::time::{Duration, Instant};

use super::{Change, Counted};

/// So many handshakes must fail, none answered between, before a backend is in quarantine.
const FAILURES: u32 = 3;
/// Likewise within [`PROBATION`] of its return. Two: a connection that waited all the time fails once
/// more before its next SYN is answered.
const FAILURES_ON_PROBATION: u32 = 2;
/// A failure is forgotten when none follows for so long.
const MEMORY: Duration = Duration::from_secs(10);
/// How long a backend that is back is on probation.
const PROBATION: Duration = Duration::from_secs(10);
/// Before a trial: the first pause, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// After so long in quarantine, clients try it themselves: trials come from the node, to which a
/// network policy may be closed.
const LONGEST: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Track {
    counts: Vec<Counted>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Trusted {
        failures: u32,
        last: Instant,
        probation_until: Instant,
    },
    Out {
        since: Instant,
        /// `None` while one is under way.
        next_trial: Option<Instant>,
        pause: Duration,
    },
}

impl Track {
    /// What was counted before says nothing.
    pub(super) fn new(counts: &[Counted], now: Instant) -> Self {
        let state = State::Trusted {
            failures: 0,
            last: now,
            probation_until: now,
        };
        let counts = counts.to_vec();
        Self { counts, state }
    }

    pub(super) fn counted(&mut self, counts: &[Counted], now: Instant) -> Option<Change> {
        let mut failed = 0_u32;
        let mut answered = false;
        for (id, now) in counts {
            let known = self.counts.iter().find(|(known, _)| known == id);
            if let Some((_, before)) = known {
                failed = failed.saturating_add(grown(before.failed, now.failed));
                answered |= grown(before.answered, now.answered) > 0;
            }
        }
        self.counts.clear();
        self.counts.extend_from_slice(counts);
        match &mut self.state {
            State::Out { since, .. } => {
                if answered {
                    return self.back(Change::Answered, now);
                }
                if now.duration_since(*since) >= LONGEST {
                    return self.back(Change::Released, now);
                }
                None
            }
            State::Trusted {
                failures,
                last,
                probation_until,
            } => {
                if answered || now.duration_since(*last) >= MEMORY {
                    *failures = 0;
                }
                if answered || failed == 0 {
                    return None;
                }
                *failures = failures.saturating_add(failed);
                *last = now;
                let most = if now < *probation_until {
                    FAILURES_ON_PROBATION
                } else {
                    FAILURES
                };
                if *failures < most {
                    return None;
                }
                self.state = State::Out {
                    since: now,
                    next_trial: Some(now + PAUSE.0),
                    pause: PAUSE.0,
                };
                Some(Change::Failed)
            }
        }
    }

    /// Since when a trial is due, if one is.
    pub(super) fn trial_due(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Out { next_trial, .. } => next_trial.filter(|at| *at <= now),
            State::Trusted { .. } => None,
        }
    }

    /// A trial is under way until its result is told.
    pub(super) fn begin_trial(&mut self) {
        if let State::Out { next_trial, .. } = &mut self.state {
            *next_trial = None;
        }
    }

    pub(super) fn tried(&mut self, answered: bool, now: Instant) -> Option<Change> {
        let State::Out {
            next_trial, pause, ..
        } = &mut self.state
        else {
            return None;
        };
        if answered {
            return self.back(Change::Answered, now);
        }
        *next_trial = Some(now + *pause);
        *pause = PAUSE.1.min(*pause * 2);
        None
    }

    pub(super) fn out_since(&self) -> Option<Instant> {
        match self.state {
            State::Out { since, .. } => Some(since),
            State::Trusted { .. } => None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what the callers return")]
    fn back(&mut self, change: Change, now: Instant) -> Option<Change> {
        self.state = State::Trusted {
            failures: 0,
            last: now,
            probation_until: now + PROBATION,
        };
        Some(change)
    }
}

/// By how much a count has grown; it wraps. One that was begun anew, in another map, has not.
fn grown(before: u32, now: u32) -> u32 {
    let by = now.wrapping_sub(before);
    if by > u32::MAX / 2 { 0 } else { by }
}

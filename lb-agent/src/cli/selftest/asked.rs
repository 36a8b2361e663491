//! Every check that the places make, and the line of each.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    checks::{Check, Place},
    judge::{SILENT, judge},
    question::{Answer, Question},
    report::Line,
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has every check made by the client of its place, those of each place one after the other.
pub(super) fn asked<C: Send>(
    checks: &[Check],
    clients: Vec<(Place, C)>,
    deadline: Instant,
    ask: impl Fn(&mut C, Question) -> Result<Answer> + Sync,
) -> Vec<Line> {
    let ask = &ask;
    let mut lines: Vec<(usize, Line)> = thread::scope(|scope| {
        let running: Vec<_> = clients
            .into_iter()
            .map(|(place, mut client)| {
                scope.spawn(move || {
                    let all = checks.iter().enumerate();
                    let of_place: Vec<_> = all.filter(|(_, check)| check.from == place).collect();
                    let mut patience = Patience::of(of_place.len());
                    let made = of_place.into_iter().map(|(n, check)| {
                        let ask = |question| ask(&mut client, question);
                        (n, made(check, deadline, &mut patience, ask))
                    });
                    made.collect::<Vec<_>>()
                })
            })
            .collect();
        let done = running.into_iter().map(thread::ScopedJoinHandle::join);
        done.flatten().flatten().collect()
    });
    let missing = checks.len() - lines.len();
    lines.sort_by_key(|(n, _)| *n);
    let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
    if missing > 0 {
        let why = format!(
            "{missing} of {} were not: a thread of the test panicked, what it said is above. Please report it",
            checks.len()
        );
        lines.push(Line::failed("every check is made", why));
    }
    lines
}

fn made(
    check: &Check,
    deadline: Instant,
    patience: &mut Patience,
    mut ask: impl FnMut(Question) -> Result<Answer>,
) -> Line {
    let mut is_silent = false;
    let judged = judge(&check.expected, deadline, |nth, left| {
        let answer = ask(Question {
            protocol: check.protocol,
            to: check.to,
            nth,
            // No time at all would be for ever.
            patience_ms: u64::try_from(patience.for_one(left).as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
        });
        is_silent = matches!(answer, Ok(Answer::Nothing));
        answer.map_err(|error| format!("{error:#}"))
    });
    patience.made(judged.is_err() && is_silent);
    match judged {
        Ok(()) => Line::ok(check.to_string()),
        Err(why) => Line::failed(check.to_string(), why),
    }
}

/// How long a place waits for an answer. Once a check had none, the time that is left is for all of
/// its checks: the others may have none either, and each is to be asked.
struct Patience {
    /// Checks that are to be made.
    checks: usize,
    was_silent: bool,
}

impl Patience {
    const fn of(checks: usize) -> Self {
        Self {
            checks,
            was_silent: false,
        }
    }

    fn for_one(&self, left: Duration) -> Duration {
        let most = left.min(PATIENCE);
        if !self.was_silent {
            return most;
        }
        let checks = u32::try_from(self.checks.max(1)).unwrap_or(u32::MAX);
        most.min(left / checks.saturating_mul(SILENT))
    }

    fn made(&mut self, was_silent: bool) {
        self.checks = self.checks.saturating_sub(1);
        self.was_silent |= was_silent;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::cli::selftest::{addresses::Family, checks, report::Verdict};

    fn clients() -> Vec<(Place, Place)> {
        Place::ALL.map(|place| (place, place)).to_vec()
    }

    #[test]
    fn each_check_has_its_line_in_its_place() {
        let checks = checks::all(&Family::ALL);
        let deadline = Instant::now() + Duration::from_mins(1);
        let lines = asked(&checks, clients(), deadline, |_, _| bail!("gone"));
        let names: Vec<_> = lines.iter().map(|line| line.name.clone()).collect();
        let wanted: Vec<_> = checks.iter().map(ToString::to_string).collect();
        assert_eq!(names, wanted);
        assert!(lines.iter().all(|line| line.remedy == "gone"), "{lines:?}");
    }

    #[test]
    fn a_thread_that_panics_is_no_success() {
        let checks = checks::all(&[Family::V4]);
        let deadline = Instant::now() + Duration::from_mins(1);
        let lines = asked(&checks, clients(), deadline, |place, _| {
            assert!(*place != Place::Pod, "a defect of the test's own");
            bail!("gone")
        });
        let of_pod = checks.iter().filter(|c| c.from == Place::Pod).count();
        assert_eq!(lines.len(), checks.len() - of_pod + 1);
        let last = lines.last().unwrap();
        assert_eq!(last.verdict, Verdict::Fail);
        let missing = format!("{of_pod} of {} were not", checks.len());
        assert!(last.remedy.starts_with(&missing), "{last:?}");
    }

    #[test]
    fn every_check_is_asked_where_nobody_answers() {
        let checks = checks::all(&Family::ALL);
        let deadline = Instant::now() + Duration::from_secs(6);
        let lines = asked(&checks, clients(), deadline, |_, question| {
            thread::sleep(Duration::from_millis(question.patience_ms));
            Ok(Answer::Nothing)
        });
        for line in &lines {
            let is_asked = [
                "no answer",
                "no answer, wanted a refusal",
                "no answer, wanted an echo",
            ]
            .contains(&line.remedy.as_str());
            assert!(is_asked, "{line:?}");
        }
    }

    #[test]
    fn patience_is_short_once_a_check_was_silent() {
        let mut patience = Patience::of(11);
        let left = Duration::from_secs(15);
        assert_eq!(patience.for_one(left), PATIENCE);
        patience.made(true);
        assert_eq!(patience.for_one(left), left / 30);
        // Until the end: the next may have an answer, and those behind it none.
        patience.made(false);
        assert_eq!(patience.for_one(left), left / 27);
        assert_eq!(patience.for_one(Duration::from_mins(10)), PATIENCE);
    }
}

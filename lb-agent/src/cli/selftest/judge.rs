//! Whether what a client gets is what its Service promises.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{question::Answer, report::MORE_TIME};

/// So many questions meet each of three backends, but for one time in 10¹¹.
const ENOUGH: usize = 64;
/// Of a Service that always answers alike.
const SOME: usize = 8;
/// So many questions of a check may be lost: the machine may be busy, and neighbours are new.
const LOSSES: u32 = 2;
/// The questions of a check that nobody answers.
pub(super) const SILENT: u32 = LOSSES + 1;

/// What a Service promises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expected {
    /// All of these serve, and nobody else.
    All(Vec<&'static str>),
    /// One of these serves, always the same.
    One(Vec<&'static str>),
    /// This one alone serves, and sees the client itself if an address is given.
    Only(&'static str, Option<IpAddr>),
    /// Nobody serves, and the client is told at once.
    Refused,
    /// The address answers ping.
    Echo,
}

/// Asks until it is clear; what is wrong.
pub(super) fn judge(
    expected: &Expected,
    deadline: Instant,
    mut ask: impl FnMut(usize, Duration) -> Result<Answer, String>,
) -> Result<(), String> {
    let mut lost = 0;
    let mut met = BTreeSet::new();
    for nth in 0..ENOUGH {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(match nth {
                0 => format!("not asked, the time was over: {MORE_TIME}"),
                _ => format!("the time was over after {nth} questions: {MORE_TIME}"),
            });
        }
        let answer = ask(nth, left)?;
        if answer == Answer::Nothing && lost < LOSSES {
            lost += 1;
            continue;
        }
        let (name, saw) = match (expected, answer) {
            (Expected::Refused, Answer::Refused) | (Expected::Echo, Answer::Echo) => return Ok(()),
            (Expected::Refused | Expected::Echo, answer) => {
                return Err(format!("{}, wanted {}", said(&answer), expected.wanted()));
            }
            (_, Answer::Backend { name, saw }) => (name, saw),
            (_, answer) => return Err(said(&answer)),
        };
        met.insert(name);
        let unclear = match expected {
            Expected::All(names) => {
                strangers(&met, names)?;
                met.len() < names.len()
            }
            Expected::One(names) => {
                strangers(&met, names)?;
                if met.len() > 1 {
                    return Err(format!("{} answered one client", list(&met)));
                }
                nth < SOME
            }
            Expected::Only(name, client) => {
                strangers(&met, &[name])?;
                if client.is_some_and(|client| client != saw) {
                    return Err(format!("the backend saw {saw} instead of the client"));
                }
                nth < SOME
            }
            Expected::Refused | Expected::Echo => false,
        };
        if !unclear {
            return Ok(());
        }
    }
    Err(format!(
        "of {}, only {} answered",
        expected.wanted(),
        list(&met)
    ))
}

impl Expected {
    fn wanted(&self) -> String {
        match self {
            Self::All(names) | Self::One(names) => names.join(", "),
            Self::Only(name, _) => (*name).to_owned(),
            Self::Refused => "a refusal".to_owned(),
            Self::Echo => "an echo".to_owned(),
        }
    }
}

fn strangers(met: &BTreeSet<String>, names: &[&str]) -> Result<(), String> {
    let stranger = met.iter().find(|met| !names.contains(&met.as_str()));
    stranger.map_or(Ok(()), |name| {
        Err(format!("{name} answered, which is no backend of it"))
    })
}

fn list(met: &BTreeSet<String>) -> String {
    let names: Vec<&str> = met.iter().map(String::as_str).collect();
    names.join(", ")
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Backend { name, .. } => format!("{name} answered"),
        Answer::Echo => "an echo came".to_owned(),
        Answer::Refused => "refused".to_owned(),
        Answer::Nothing => "no answer".to_owned(),
        Answer::Failed(error) => error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(name: &str) -> Answer {
        Answer::Backend {
            name: name.to_owned(),
            saw: [192, 0, 2, 2].into(),
        }
    }

    /// Answers in a circle.
    fn judged(expected: &Expected, answers: &[Answer]) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_mins(1);
        judge(expected, deadline, |nth, _| {
            Ok(answers[nth % answers.len()].clone())
        })
    }

    #[test]
    fn all_backends_must_answer_and_nobody_else() {
        let all = Expected::All(vec!["a", "b"]);
        assert_eq!(judged(&all, &[from("a"), from("a"), from("b")]), Ok(()));
        let error = judged(&all, &[from("a")]).unwrap_err();
        assert_eq!(error, "of a, b, only a answered");
        let error = judged(&all, &[from("c")]).unwrap_err();
        assert!(error.starts_with("c answered"), "{error}");
        assert_eq!(judged(&all, &[Answer::Refused]).unwrap_err(), "refused");
    }

    #[test]
    fn some_losses_are_forgiven() {
        let all = Expected::All(vec!["a", "b"]);
        let lossy = [Answer::Nothing, from("a"), Answer::Nothing, from("b")];
        assert_eq!(judged(&all, &lossy), Ok(()));
        assert_eq!(judged(&all, &[Answer::Nothing]).unwrap_err(), "no answer");
    }

    #[test]
    fn affinity_is_one_backend() {
        let one = Expected::One(vec!["a", "b"]);
        assert_eq!(judged(&one, &[from("b")]), Ok(()));
        let error = judged(&one, &[from("a"), from("b")]).unwrap_err();
        assert_eq!(error, "a, b answered one client");
    }

    #[test]
    fn the_client_must_be_seen_where_it_is_promised() {
        let client = |last| Expected::Only("a", Some([192, 0, 2, last].into()));
        assert_eq!(judged(&client(2), &[from("a")]), Ok(()));
        let error = judged(&client(3), &[from("a")]).unwrap_err();
        assert!(error.contains("192.0.2.2"), "{error}");
        assert!(judged(&Expected::Only("a", None), &[from("b")]).is_err());
    }

    #[test]
    fn a_refusal_and_an_echo_are_what_they_are() {
        assert_eq!(judged(&Expected::Refused, &[Answer::Refused]), Ok(()));
        let error = judged(&Expected::Refused, &[from("a")]).unwrap_err();
        assert_eq!(error, "a answered, wanted a refusal");
        assert_eq!(judged(&Expected::Echo, &[Answer::Echo]), Ok(()));
        assert!(judged(&Expected::Echo, &[Answer::Refused]).is_err());
    }

    #[test]
    fn nothing_is_asked_when_the_time_is_over() {
        let over = judge(&Expected::Echo, Instant::now(), |_, _| Ok(Answer::Echo));
        let over = over.unwrap_err();
        assert!(over.contains("time was over"), "{over}");
        assert!(over.contains("not asked"), "{over}");
    }
}

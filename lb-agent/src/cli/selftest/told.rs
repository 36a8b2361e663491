//! What the verb is told by the processes of the test, and how they end.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdout, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    keeper,
    part::{self, Part},
    report::{Line, MORE_TIME, Message},
};

/// What the keeper needs beyond its own [`keeper::ENDING`].
const SLACK: Duration = Duration::from_secs(2);
/// Between two looks at a process.
const AGAIN: Duration = Duration::from_millis(20);
/// The line of what does not come.
const ALL: &str = "every check is made";

/// Everything that was told.
#[derive(Default)]
pub(super) struct Told {
    lines: Vec<Line>,
    /// Why the test could not run, or go on.
    refused: Vec<String>,
    /// What is still there.
    left: Vec<String>,
}

/// Why nothing more was told.
#[derive(Clone, Copy)]
enum End {
    Whole,
    /// Its time was over.
    Late(Duration),
    /// Nobody was there to tell it.
    Gone,
}

/// Starts the keeper, and hears it until its end.
pub(super) fn told(timeout: Duration) -> Result<Told> {
    let deadline = Instant::now() + timeout;
    let mut keeper = part::command(&Part::Keeper { timeout })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C ends the verb, and thereby the room.
        .process_group(0)
        .spawn()
        .context("start the keeper")?;
    let leash = keeper.stdin.take();
    let heard = heard(keeper.stdout.take().context("no pipe from the keeper")?);
    let mut told = Told::default();
    let end = loop {
        match heard.recv_timeout(until(deadline)) {
            Ok(Message::Done) => break End::Whole,
            Ok(message) => told.take(message),
            Err(RecvTimeoutError::Disconnected) if Instant::now() < deadline => break End::Gone,
            Err(_) => break End::Late(timeout),
        }
    };
    drop(leash);
    let deadline = Instant::now() + keeper::ENDING + SLACK;
    // What is told meanwhile, such as that something could not be removed.
    while let Ok(message) = heard.recv_timeout(until(deadline)) {
        told.take(message);
    }
    let status = ended(&mut keeper, deadline)?;
    told.end(end, status, keeper.id());
    Ok(told)
}

impl Told {
    /// The lines to show, or why the test could not run at all.
    pub(super) fn lines(self) -> Result<Vec<Line>, Vec<String>> {
        let Self {
            mut lines,
            refused,
            left,
        } = self;
        if lines.is_empty() && !refused.is_empty() {
            return Err([refused, left].concat());
        }
        lines.extend(refused.into_iter().map(|why| Line::failed(ALL, why)));
        let left = left.into_iter();
        lines.extend(left.map(|what| Line::failed("nothing is left", what)));
        Ok(lines)
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Line(line) => self.lines.push(line),
            Message::Cannot(reason) => self.refused.push(reason),
            Message::Left(what) => self.left.push(what),
            Message::Done => {}
        }
    }

    fn end(&mut self, end: End, keeper: Option<ExitStatus>, pid: u32) {
        // A reason that was told is better than what is seen from here.
        let is_told = !self.refused.is_empty();
        match (end, keeper) {
            (End::Late(timeout), _) if !is_told => self.lines.push(Line::failed(
                ALL,
                format!("it was not over within {}s: {MORE_TIME}", timeout.as_secs_f64()),
            )),
            (End::Gone, Some(status)) if !is_told => self.lines.push(Line::failed(
                ALL,
                format!(
                    "the process that keeps the test ended early ({status}): killed, for instance for want of memory, or by a defect; the next run here removes the cgroups that it left"
                ),
            )),
            _ => {}
        }
        if keeper.is_none() {
            self.left.push(format!(
                "process {pid}, which removes everything and is not done after {}s: look at what its processes wait for (`ps -o pid,stat,wchan`)",
                (keeper::ENDING + SLACK).as_secs()
            ));
        }
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// How the process ended, if it has by then.
fn ended(process: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        let status = process.try_wait().context("wait for the keeper")?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(AGAIN);
    }
}

fn heard(from: ChildStdout) -> Receiver<Message> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // What is no message is of nobody here.
            if let Ok(message) = serde_json::from_str(&line)
                && tell.send(message).is_err()
            {
                return;
            }
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;
    use crate::cli::selftest::report::Verdict;

    fn of(messages: &[Message]) -> Told {
        let mut told = Told::default();
        for message in messages {
            told.take(message.clone());
        }
        told
    }

    fn remedies(told: Told) -> Vec<(Verdict, String)> {
        let lines = told.lines().unwrap().into_iter();
        lines.map(|line| (line.verdict, line.remedy)).collect()
    }

    #[test]
    fn a_test_that_cannot_run_has_no_lines() {
        let cannot = Message::Cannot("no veth".to_owned());
        let left = Message::Left("a cgroup".to_owned());
        let told = of(&[cannot, left]);
        assert_eq!(told.lines().unwrap_err(), ["no veth", "a cgroup"]);
    }

    #[test]
    fn what_goes_wrong_behind_a_line_is_one_more() {
        let told = of(&[
            Message::Line(Line::failed("a", "refused")),
            Message::Cannot("no XDP".to_owned()),
            Message::Done,
            Message::Left("a cgroup".to_owned()),
        ]);
        let failed = ["refused", "no XDP", "a cgroup"].map(|why| (Verdict::Fail, why.to_owned()));
        assert_eq!(remedies(told), failed);
    }

    #[test]
    fn a_killed_keeper_is_no_lack_of_time() {
        let killed = Some(ExitStatus::from_raw(9));
        let mut told = of(&[]);
        told.end(End::Gone, killed, 7);
        let [(Verdict::Fail, text)] = &remedies(told)[..] else {
            panic!("one line");
        };
        assert!(
            text.contains("signal: 9") && !text.contains("--timeout"),
            "{text}"
        );
        let mut told = of(&[]);
        told.end(End::Late(Duration::from_millis(50)), killed, 7);
        assert_eq!(
            remedies(told),
            [(
                Verdict::Fail,
                "it was not over within 0.05s: give a slow machine more --timeout".to_owned()
            )]
        );
    }

    #[test]
    fn a_keeper_that_does_not_end_is_left() {
        let mut told = of(&[Message::Line(Line::ok("a"))]);
        told.end(End::Whole, None, 7);
        let [(Verdict::Ok, _), (Verdict::Fail, text)] = &remedies(told)[..] else {
            panic!("two lines");
        };
        assert!(text.starts_with("process 7"), "{text}");
    }
}

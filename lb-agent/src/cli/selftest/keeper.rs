//! The process that makes the room and outlives everything in it: whatever ends the verb, even kill
//! -9, ends the room and takes its cgroups away.

use std::{
    fmt, fs,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, unshare};

use super::{
    cgroup::{self, Cgroup},
    mounts,
    part::{self, Part, say},
    report::Message,
};

/// How long the end of the room may take, with its removal.
pub(super) const ENDING: Duration = Duration::from_secs(8);
/// Between two signals to the room.
const AGAIN: Duration = Duration::from_millis(20);
/// One part of so many of the time is for the end of the checks, and their lines.
const LAST: u32 = 5;

/// What the keeper waits for.
enum Event {
    /// The verb is gone, or waits no more.
    LetGo,
    /// The stage ended, and how.
    Ended(Result<ExitStatus>),
}

/// Makes the room and waits until it is empty, until standard input ends, or until its time is over.
pub(super) fn run(timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    // As it is called outside of the room.
    let home = home();
    let room = mounts::room()?;
    let cgroups = room.join(mounts::CGROUP);
    for (path, error) in cgroup::sweep(&cgroups)? {
        say(&left(&home, &path, &error))?;
    }
    let cgroup = Cgroup::new(&cgroups)?;
    let stage = Part::Stage {
        timeout: timeout / LAST * (LAST - 1),
        room,
        cgroup: cgroup.path().to_owned(),
    };
    let (tell, events) = mpsc::channel();
    let let_go = tell.clone();
    // Nobody waits if the stage has ended.
    part::when_let_go(move || drop(let_go.send(Event::LetGo)));
    thread::spawn(move || tell.send(Event::Ended(play(&stage))));
    let waits = deadline.saturating_duration_since(Instant::now());
    let first = events.recv_timeout(waits).unwrap_or(Event::LetGo);

    let deadline = Instant::now() + ENDING;
    let ended = match first {
        Event::Ended(status) => status.and_then(as_it_should),
        Event::LetGo => {
            cgroup.kill();
            // It may still have been on its way into its cgroup.
            while let Err(RecvTimeoutError::Timeout) | Ok(Event::LetGo) = events.recv_timeout(AGAIN)
                && Instant::now() < deadline
            {
                cgroup.kill();
            }
            Ok(())
        }
    };
    let path = cgroup.path().to_owned();
    if let Err(error) = cgroup.remove(deadline) {
        say(&left(&home, &path, &error))?;
    }
    ended
}

/// Runs the stage to its end, the first process of a process namespace.
fn play(stage: &Part) -> Result<ExitStatus> {
    // Holds for what this thread starts.
    unshare(CloneFlags::CLONE_NEWPID).context("make a process namespace")?;
    let mut child = part::command(stage)
        .stdin(Stdio::piped())
        .spawn()
        .context("start the stage")?;
    // Its end tells the stage that this process is gone.
    let _leash = child.stdin.take();
    child.wait().context("wait for the stage")
}

/// An error of the stage is told by itself; it cannot tell that it was killed.
fn as_it_should(status: ExitStatus) -> Result<()> {
    ensure!(
        status.success(),
        "the node of the test ended early ({status}): killed, for instance for want of memory, or by a defect"
    );
    Ok(())
}

/// This process's cgroup in the hierarchy of version 2, as cgroups(7) shows it.
fn home() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.unwrap_or_default().trim_end_matches('/').to_owned()
}

fn left(home: &str, path: &Path, error: &dyn fmt::Display) -> Message {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Message::Left(format!(
        "the cgroup {home}/{name} ({error}): once the processes in its cgroup.procs are gone, another `lb-agent selftest` started from the same cgroup removes it"
    ))
}

#[cfg(test)]
mod tests {
    use std::{io, os::unix::process::ExitStatusExt as _};

    use super::*;

    #[test]
    fn a_node_that_is_killed_is_told() {
        assert!(as_it_should(ExitStatus::from_raw(0)).is_ok());
        let error = as_it_should(ExitStatus::from_raw(9)).unwrap_err();
        assert!(error.to_string().contains("signal: 9"), "{error}");
    }

    #[test]
    fn what_is_left_is_named_as_outside_of_the_room() {
        let busy = io::Error::from_raw_os_error(16);
        let Message::Left(text) = left(
            "/kubepods/a",
            Path::new("/run/cgroup/lb-selftest-1-0"),
            &busy,
        ) else {
            panic!("another message");
        };
        assert!(
            text.starts_with("the cgroup /kubepods/a/lb-selftest-1-0 ("),
            "{text}"
        );
    }
}

//! The process that makes the room and outlives everything in it: whatever ends the verb, even kill
//! -9, ends the room and takes its cgroups away.

use std::{
    io::{self, Read as _},
    process::Stdio,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, unshare};

use super::{
    cgroup::{self, Cgroup},
    mounts,
    part::{self, Part},
};

/// Between two signals to the room.
const AGAIN: Duration = Duration::from_millis(20);

/// Makes the room and waits until it is empty, or until standard input ends.
pub(super) fn run(timeout: Duration) -> Result<()> {
    let room = mounts::room()?;
    let cgroups = room.join(mounts::CGROUP);
    cgroup::sweep(&cgroups)?;
    let cgroup = Cgroup::new(&cgroups)?;
    let stage = Part::Stage {
        timeout,
        room,
        cgroup: cgroup.path().to_owned(),
    };
    let (over, is_over) = mpsc::channel();
    let let_go = over.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        // Nobody waits if the stage has ended.
        let _ = let_go.send(());
    });
    let watch = thread::spawn(move || {
        let ended = play(&stage);
        let _ = over.send(());
        ended
    });
    // An error says that both threads are gone.
    let _ = is_over.recv();
    while !watch.is_finished() {
        cgroup.kill();
        thread::sleep(AGAIN);
    }
    let ended = watch.join().map_err(|_| anyhow!("a thread panicked"));
    cgroup.remove()?;
    ended?
}

/// Runs the stage to its end, the first process of a process namespace.
fn play(stage: &Part) -> Result<()> {
    // Holds for what this thread starts.
    unshare(CloneFlags::CLONE_NEWPID).context("make a process namespace")?;
    let mut child = part::command(stage)
        .stdin(Stdio::piped())
        .spawn()
        .context("start the stage")?;
    // Its end tells the stage that this process is gone.
    let _leash = child.stdin.take();
    child.wait().context("wait for the stage").map(drop)
}

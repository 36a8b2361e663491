//! The process that holds a cluster while nobody waits for it: its start, and its end.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, dup2_stderr, dup2_stdout, setsid},
};
use testbed::{poll, stop, sweep};

use crate::{
    Asked, Up,
    images::Images,
    shell::usage,
    state::{self, Found, Held, State},
};

/// The line that ends the progress.
const READY: &str = "ready";
/// Every process is killed, then folders of a few thousand files are removed.
const DOWN: Duration = Duration::from_mins(1);

/// Starts the holder by these words of this program, shows what it says, and leaves it when the
/// cluster is ready.
pub fn start(words: &[String], mut show: impl FnMut(&str)) -> Result<()> {
    if let Some(found) = state::find()?.first() {
        let Found { maker, lives, .. } = found;
        let how = if *lives {
            "is up"
        } else {
            "was left by a crash of"
        };
        bail!("a cluster {how} already (process {maker}): `cargo xtask cluster down` removes it");
    }
    let me = std::env::current_exe().context("find this program's file")?;
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let mut holder = Command::new(me)
        .args(words)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("share a pipe")?)
        .stderr(writer)
        .spawn()
        .context("start this program again")?;
    for line in BufReader::new(reader).lines() {
        match line.context("read the progress")? {
            line if line == READY => {
                let found = state::find()?;
                let own = found.iter().find(|found| found.maker == holder.id());
                let found = own.context("the cluster is gone already")?;
                show(&usage(&found.state()?, &found.dir));
                return Ok(());
            }
            line => show(&line),
        }
    }
    let status = holder.wait().context("wait for the holder")?;
    bail!("the cluster did not come up ({status})")
}

/// Holds a cluster until a signal comes; to be called by the process that [`start`] starts.
pub fn hold(asked: Asked) -> Result<()> {
    // A Ctrl-C in the shell of whoever waits is not for it.
    setsid().context("leave the terminal")?;
    stop::on_signals()?;
    let held = Held::new()?;
    let path = held.path().join("holder.log");
    let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    // Whoever waits may go: only progress is theirs.
    dup2_stderr(&log).context("redirect errors")?;
    let say = |what: &str| writeln!(std::io::stdout(), "{what}").context("say how far it is");
    let raised = Up::raise(asked, Images::Own, held.path(), say);
    let up = raised.inspect_err(|error| {
        // Nobody waits any more if this fails: it is not wanted any more.
        let _ = say(&format!("error: {error:#}"));
    })?;
    held.tell(&State::of(&up)?)?;
    say(READY)?;
    dup2_stdout(&log).context("redirect the output")?;
    watch(up)
}

/// Says it once if a part of the cluster dies, and lets the rest stand for whoever looks.
fn watch(mut up: Up) -> Result<()> {
    while up
        .check()
        .inspect_err(|error| eprintln!("{error:#}"))
        .is_ok()
    {
        thread::sleep(Duration::from_secs(1));
    }
    loop {
        thread::park();
    }
}

/// Removes every cluster of this machine, one whose holder has died too; whether there was any.
pub fn down() -> Result<bool> {
    let found = state::find()?;
    for Found { dir, maker, lives } in &found {
        if *lives {
            let pid = Pid::from_raw(i32::try_from(*maker).context("a process id is positive")?);
            kill(pid, Signal::SIGTERM).with_context(|| format!("end process {maker}"))?;
            let ended = || Ok(!sweep::is_running(*maker));
            poll::until_true(DOWN, "the cluster's holder removes it", ended)?;
        } else {
            // Everything of a number is removed: nobody else may have it now.
            ensure!(
                !sweep::is_running(*maker),
                "{} was left by a process whose number, {maker}, another one has now: remove it when that has ended",
                dir.display()
            );
        }
        // Nothing, or what a dead one left.
        sweep::of(*maker)?;
    }
    ensure!(state::find()?.is_empty(), "another cluster came up");
    Ok(!found.is_empty())
}

//! The demo, as people run it: it shows what it says, and leaves nothing, also when it is stopped
//! in the middle.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::{agent, pins, sweep};

fn demo() -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command
        .env("LB_AGENT_BIN", agent::binary()?)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    Ok(command)
}

#[test]
fn it_shows_the_way_of_a_connection_and_leaves_nothing() -> Result<()> {
    let child = demo()?.stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{}\n{said}", output.status);
    for words in [
        "client $ nslookup web",
        "web.default.svc.cluster.local",
        "client $ wget -qO- http://web/",
        "prog/xdp id",
        "lb-agent get services",
        "TCP  *:30080",
        "\"port\": 80",
        "A backend goes",
    ] {
        ensure!(said.contains(words), "it did not show `{words}`:\n{said}");
    }
    let left = sweep::left_by(pid)?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Runs it until it says `when`, and stops it there.
fn stopped(when: &str, signal: Signal) -> Result<()> {
    let mut child: Child = demo()?.stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    let mut lines = BufReader::new(child.stdout.take().context("no pipe")?).lines();
    loop {
        let line = lines
            .next()
            .with_context(|| format!("it ended before `{when}`"))??;
        if line.contains(when) {
            break;
        }
    }
    kill(Pid::from_raw(i32::try_from(pid)?), signal)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "stopped at `{when}`: {status}");
    let left = sweep::left_by(pid)?;
    ensure!(left.is_empty(), "stopped at `{when}`: {left:?}");
    ensure!(Path::new(pins::BPFFS).is_dir());
    Ok(())
}

#[test]
fn it_leaves_nothing_when_it_is_stopped_while_it_builds() -> Result<()> {
    stopped("A node, its pods", Signal::SIGINT)
}

#[test]
fn it_leaves_nothing_when_it_is_stopped_while_the_agent_starts() -> Result<()> {
    stopped("lb-agent --manifests", Signal::SIGTERM)
}

#[test]
fn it_leaves_nothing_when_it_is_stopped_while_it_shows() -> Result<()> {
    stopped("Many connections", Signal::SIGINT)
}

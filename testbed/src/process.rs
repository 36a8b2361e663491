//! Child processes that run in a [`Sandbox`]: started through the helper binary, ended with their
//! values.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{poll, sandbox::Sandbox};

/// The helper and the words before its own, where it is not the binary `probe`.
static HELPER: OnceLock<(PathBuf, Vec<String>)> = OnceLock::new();

/// Lets this very program be the helper: `words` lead its `main` to [`crate::probe::main`].
pub fn be_the_helper(words: &[&str]) -> Result<()> {
    let me = std::env::current_exe().context("find this program's file")?;
    // A second call says the same.
    let _ = HELPER.set((me, words.iter().map(|&word| word.to_owned()).collect()));
    Ok(())
}

/// A command of the helper binary: `exec`, `serve`.
pub fn helper() -> Result<Command> {
    if let Some((program, words)) = HELPER.get() {
        let mut command = Command::new(program);
        command.args(words);
        return Ok(command);
    }
    // Tests stand in target/debug/deps, binaries one above.
    let me = std::env::current_exe().context("find this program's file")?;
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("probe"))
        .find(|path| path.is_file());
    Ok(Command::new(found.with_context(|| {
        format!(
            "no binary `probe` near {}: cargo build --package lb-tests --bin probe",
            me.display()
        )
    })?))
}

/// A command that runs the program there, its output still to be said.
pub fn command<S: AsRef<OsStr>>(sandbox: &Sandbox, words: &[S]) -> Result<Command> {
    let mut command = helper()?;
    command
        .arg("exec")
        .args(sandbox.to_args())
        .arg("--")
        .args(words);
    Ok(command)
}

/// What a finished command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

/// Runs a program there to its end, whatever that is.
pub fn output<S: AsRef<OsStr>>(sandbox: &Sandbox, words: &[S]) -> Result<Output> {
    let done = command(sandbox, words)?
        .stdin(Stdio::null())
        .output()
        .context("start the helper")?;
    Ok(Output {
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        status: done.status,
    })
}

/// Runs a program there; its standard output, or an error with what it said.
pub fn run<S: AsRef<OsStr>>(sandbox: &Sandbox, words: &[S]) -> Result<String> {
    let Output {
        stdout,
        stderr,
        status,
    } = output(sandbox, words)?;
    if !status.success() {
        let words: Vec<_> = words
            .iter()
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        bail!("`{}`: {status}\n{stdout}{stderr}", words.join(" "));
    }
    Ok(stdout)
}

/// A running program, both its outputs in a file. It is killed when this value goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it there, in a process group of its own so that a Ctrl-C is not its business.
    pub fn start<S: AsRef<OsStr>>(sandbox: &Sandbox, words: &[S], log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("create {}", log.display()))?;
        let child = command(sandbox, words)?
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .context("start the helper")?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has said so far.
    pub fn said(&self) -> Result<String> {
        let mut text = String::new();
        File::open(&self.log)
            .and_then(|mut file| file.read_to_string(&mut text))
            .with_context(|| format!("read {}", self.log.display()))?;
        Ok(text)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("look after a child")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.child.id()).context("a process id is positive")?);
        kill(pid, signal).with_context(|| format!("send {signal} to {pid}"))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        poll::until(deadline, "the process ends", || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

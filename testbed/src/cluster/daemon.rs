//! A process that runs until it is told to go, and shows its log in every error.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use crate::{poll, process::Process, sandbox::Sandbox};

/// Lines of its log that an error shows.
const TAIL: usize = 30;

/// Killed when this value goes.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    process: Process,
    log: PathBuf,
    telling: bool,
}

impl Daemon {
    /// Starts it there; what it says is added to `<dir>/<name>.log`.
    pub fn start(name: &str, words: &[OsString], sandbox: &Sandbox, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let process =
            Process::start(sandbox, words, &log).with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            process,
            log,
            telling: false,
        })
    }

    /// The end of its log is shown when this value goes; seen only if the test fails.
    #[must_use]
    pub fn telling(mut self) -> Self {
        self.telling = true;
        self
    }

    /// Its process id, also as seen from inside: there is one pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// An error with the end of its log if it runs no more.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.process.ended()? {
            bail!(
                "{} ended by itself: {status}\n{}",
                self.name,
                tail(&self.log)
            );
        }
        Ok(())
    }

    /// SIGTERM, and its status once it is gone.
    pub fn terminate(mut self, deadline: Duration) -> Result<ExitStatus> {
        self.check()?;
        self.process.signal(Signal::SIGTERM)?;
        self.wait(deadline)
    }

    /// SIGTERM, and `kill -9` once the grace is over; gone when this returns.
    pub fn terminate_or_kill(mut self, grace: Duration) -> Result<()> {
        self.check()?;
        self.process.signal(Signal::SIGTERM)?;
        if self.process.wait(grace).is_err() {
            self.process.signal(Signal::SIGKILL)?;
            self.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(mut self) -> Result<()> {
        self.check()?;
        self.process.signal(Signal::SIGKILL)?;
        let status = self.wait(Duration::from_secs(10))?;
        if status.signal() == Some(Signal::SIGKILL as i32) {
            return Ok(());
        }
        bail!("{} was gone before it was killed: {status}", self.name)
    }

    /// Its status once it has ended.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let ended = self.process.wait(deadline);
        ended.with_context(|| format!("{} does not end; it said:\n{}", self.name, tail(&self.log)))
    }

    /// Asks until there is an answer; its death, or the deadline, is an error with its log.
    pub fn until<T>(
        &mut self,
        deadline: Duration,
        what: &str,
        mut ask: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        // A dead process is an answer too: nothing more will come.
        let answer = poll::until(deadline, what, || match self.check() {
            Err(died) => Ok(Some(Err(died))),
            Ok(()) => Ok(ask()?.map(Ok)),
        });
        answer
            .with_context(|| format!("{} said:\n{}", self.name, tail(&self.log)))?
            .context(what.to_owned())
    }

    /// All it has said, by earlier processes of the same log too.
    pub fn log(&self) -> Result<String> {
        self.process.said()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.telling {
            eprintln!("the log of {} ends:\n{}", self.name, tail(&self.log));
        }
    }
}

/// A command line of anything.
#[must_use]
pub fn words<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Vec<OsString> {
    let mut words = vec![program.as_ref().to_owned()];
    words.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
    words
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines.get(from..).unwrap_or_default().join("\n")
}

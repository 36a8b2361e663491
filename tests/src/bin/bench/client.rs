//! Owns this side of the process that measures: started, asked, ended.
//! Knows nothing of what it is asked for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail};
use lb_tests::place::Place;
use lb_tests::process;

use crate::wire::{Program, Reached, Reply, Request, Where, Work};
use crate::{WORKER, worker};

/// A running worker; it ends with this value.
pub(crate) struct Client {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Targets that the worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set(usize);

impl Client {
    /// Starts it.
    pub(crate) fn start() -> Result<Self> {
        let mut child = process::command(&Place::default(), &worker::words(WORKER)?)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the worker")?;
        let to = child.stdin.take().context("no pipe to the worker")?;
        let from = child.stdout.take().context("no pipe from the worker")?;
        Ok(Self {
            child,
            to,
            from: BufReader::new(from),
        })
    }

    /// Gives it targets, in the order of their use.
    pub(crate) fn targets(&mut self, targets: Vec<SocketAddr>) -> Result<Set> {
        match self.ask(&Request::Targets { targets })? {
            Reply::Set(set) => Ok(Set(set)),
            other => bail!("the worker said {other:?}"),
        }
    }

    /// One block of calls.
    pub(crate) fn measure(
        &mut self,
        place: &Where,
        Set(set): Set,
        work: Work,
        calls: u32,
    ) -> Result<Vec<f64>> {
        let place = place.clone();
        match self.ask(&Request::Measure {
            place,
            set,
            work,
            calls,
        })? {
            Reply::Measured(values) => Ok(values),
            other => bail!("the worker said {other:?}"),
        }
    }

    /// So many frames by a program that makes them; seconds.
    pub(crate) fn frames(&mut self, place: &Where, program: &Program, times: u32) -> Result<f64> {
        let (place, program) = (place.clone(), program.clone());
        match self.ask(&Request::Frames {
            place,
            program,
            times,
        })? {
            Reply::Measured(values) => values.first().copied().context("no time was told"),
            other => bail!("the worker said {other:?}"),
        }
    }

    /// Who stands behind these.
    pub(crate) fn reach(
        &mut self,
        place: &Where,
        targets: Vec<SocketAddr>,
    ) -> Result<Vec<Reached>> {
        let place = place.clone();
        match self.ask(&Request::Reach { place, targets })? {
            Reply::Reached(reached) => Ok(reached),
            other => bail!("the worker said {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        self.to
            .write_all(text.as_bytes())
            .context("ask the worker")?;
        text.clear();
        self.from
            .read_line(&mut text)
            .context("hear from the worker")?;
        match serde_json::from_str(&text).context("the worker has ended")? {
            Reply::Broken(words) => bail!("{words}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! This side of the process that measures: started, asked, ended.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context as _, Result, bail};
use testbed::{process, sandbox::Sandbox};

use crate::{
    UNHURRIED, WORKER,
    wire::{Connects, Program, Reached, Reply, Request, Where, Work},
    worker,
};

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
    /// Starts it, in front of everything else.
    pub(crate) fn start() -> Result<Self> {
        Self::start_by(&worker::words(WORKER)?)
    }

    /// Starts it as one program of many.
    pub(crate) fn start_unhurried() -> Result<Self> {
        let me = std::env::current_exe().context("find this program's file")?;
        Self::start_by(&[me.into_os_string(), UNHURRIED.into()])
    }

    fn start_by(words: &[OsString]) -> Result<Self> {
        let mut child = process::command(&Sandbox::default(), words)?
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
        match self.request(&Request::Targets { targets })? {
            Reply::Set(set) => Ok(Set(set)),
            other => bail!("unexpected reply from the worker: {other:?}"),
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
        match self.request(&Request::Measure {
            place,
            set,
            work,
            calls,
        })? {
            Reply::Measured(values) => Ok(values),
            other => bail!("unexpected reply from the worker: {other:?}"),
        }
    }

    /// So many frames by a program that makes them; seconds.
    pub(crate) fn frames(&mut self, place: &Where, program: &Program, times: u32) -> Result<f64> {
        let (place, program) = (place.clone(), program.clone());
        match self.request(&Request::Frames {
            place,
            program,
            times,
        })? {
            Reply::Measured(values) => values
                .first()
                .copied()
                .context("the worker measured no time"),
            other => bail!("unexpected reply from the worker: {other:?}"),
        }
    }

    /// Where so many UDP sockets lead.
    pub(crate) fn picks(
        &mut self,
        place: &Where,
        target: SocketAddr,
        count: u32,
    ) -> Result<Vec<(SocketAddr, u64)>> {
        let place = place.clone();
        match self.request(&Request::Picks {
            place,
            target,
            count,
        })? {
            Reply::Picked(picked) => Ok(picked),
            other => bail!("unexpected reply from the worker: {other:?}"),
        }
    }

    /// Starts to open connections; [`Self::connected`] waits for the counts.
    pub(crate) fn connect(&mut self, place: &Where, target: SocketAddr, millis: u64) -> Result<()> {
        let place = place.clone();
        self.send(&Request::Connect {
            place,
            target,
            millis,
        })
    }

    /// Waits until the time is over.
    pub(crate) fn connected(&mut self) -> Result<Connects> {
        match self.receive()? {
            Reply::Connected(connects) => Ok(connects),
            other => bail!("unexpected reply from the worker: {other:?}"),
        }
    }

    /// Looks for the moment at which `target` leads to `wanted`.
    pub(crate) fn until_reached(
        &mut self,
        place: &Where,
        target: SocketAddr,
        wanted: SocketAddr,
    ) -> Result<Waiting<'_>> {
        let place = place.clone();
        self.send(&Request::Await {
            place,
            target,
            wanted,
        })?;
        Ok(Waiting { client: self })
    }

    /// Moves it: who is in a place goes with it.
    pub(crate) fn go(&mut self, place: &Where) -> Result<()> {
        self.reach(place, Vec::new()).map(drop)
    }

    /// Who stands behind these.
    pub(crate) fn reach(
        &mut self,
        place: &Where,
        targets: Vec<SocketAddr>,
    ) -> Result<Vec<Reached>> {
        let place = place.clone();
        match self.request(&Request::Reach { place, targets })? {
            Reply::Reached(reached) => Ok(reached),
            other => bail!("unexpected reply from the worker: {other:?}"),
        }
    }

    fn request(&mut self, request: &Request) -> Result<Reply> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        self.to
            .write_all(text.as_bytes())
            .context("send a request to the worker")
    }

    fn receive(&mut self) -> Result<Reply> {
        let mut text = String::new();
        self.from
            .read_line(&mut text)
            .context("read the worker's reply")?;
        match serde_json::from_str(&text).context("the worker has ended")? {
            Reply::Broken(words) => bail!("{words}"),
            reply => Ok(reply),
        }
    }
}

/// A worker that looks.
#[must_use]
pub(crate) struct Waiting<'a> {
    client: &'a mut Client,
}

impl Waiting<'_> {
    /// When it was, by [`crate::wire::now`].
    pub(crate) fn wait(self) -> Result<f64> {
        match self.client.receive()? {
            Reply::Measured(values) => values
                .first()
                .copied()
                .context("the worker measured no time"),
            other => bail!("unexpected reply from the worker: {other:?}"),
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

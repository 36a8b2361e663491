//! This side of the helper: its sockets look like sockets here, though they live in another
//! namespace and cgroup.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags};

use super::{
    Answer, Ask, CrowdPlan, Family, FloodPlan, Frame, HammerPlan, Kind, Many, Observation, Reply,
    Request, Sock, Tally,
};
use crate::{poll, process, sandbox::Sandbox};

/// How long the helper may take for an answer, in milliseconds.
const PATIENCE: u16 = 60_000;

/// A running helper; it ends with the last of this value and its sockets.
#[derive(Debug, Clone)]
pub struct Probe {
    line: Arc<Line>,
}

/// The pipes to the helper, for one request at a time.
#[derive(Debug)]
pub(super) struct Line {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Mutex<Child>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Both fail only if it has ended and been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Line {
    fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only if it has ended and been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }

    pub(super) fn ask(&self, request: &Request) -> io::Result<Reply> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, from) = &mut *pipes;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        to.write_all(text.as_bytes())?;
        text.clear();
        // Whatever is asked, it takes seconds at most: a helper that hangs is to be seen, and not
        // to hang the test.
        let mut fds = [PollFd::new(from.get_ref().as_fd(), PollFlags::POLLIN)];
        if nix::poll::poll(&mut fds, PATIENCE)? == 0 {
            // So that what is asked from here on fails at once.
            self.kill();
            return Err(io::Error::other(format!("no answer to {request:?}")));
        }
        from.read_line(&mut text)?;
        match serde_json::from_str(&text)? {
            Reply::Errno(number) => Err(io::Error::from_raw_os_error(number)),
            Reply::Broken(words) => Err(io::Error::other(words)),
            reply => Ok(reply),
        }
    }

    pub(super) fn done(&self, request: &Request) -> io::Result<()> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn id(&self, request: &Request) -> io::Result<u32> {
        match self.ask(request)? {
            Reply::Id(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn addr(&self, request: &Request) -> io::Result<SocketAddr> {
        match self.ask(request)? {
            Reply::Addr(addr) => Ok(addr),
            other => Err(unexpected(&other)),
        }
    }

    fn tally(&self, request: &Request) -> io::Result<Tally> {
        match self.ask(request)? {
            Reply::Tally(tally) => Ok(tally),
            other => Err(unexpected(&other)),
        }
    }
}

pub(super) fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the helper answered {reply:?}"))
}

impl Probe {
    /// Starts a helper there.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let mut child = process::helper()?
            .arg("serve")
            .args(sandbox.to_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start the helper")?;
        let to = child.stdin.take().context("no pipe to the helper")?;
        let from = BufReader::new(child.stdout.take().context("no pipe from the helper")?);
        Ok(Self {
            line: Arc::new(Line {
                pipes: Mutex::new((to, from)),
                child: Mutex::new(child),
            }),
        })
    }

    /// kill -9: the kernel alone closes its sockets.
    pub fn kill(&self) {
        self.line.kill();
    }

    /// A new socket in the helper's namespace and cgroup.
    pub fn socket(&self, kind: Kind, family: Family) -> io::Result<Sock> {
        let id = self.line.id(&Request::Socket { kind, family })?;
        Ok(Sock::new(Arc::clone(&self.line), id, kind))
    }

    /// A socket of the address's own family, connected to it.
    pub fn connect(&self, kind: Kind, to: SocketAddr) -> io::Result<Sock> {
        let sock = self.socket(kind, Family::of(&to))?;
        sock.connect(to)?;
        Ok(sock)
    }

    /// Connects, asks, closes.
    pub fn ask(&self, kind: Kind, to: SocketAddr) -> io::Result<Answer> {
        self.connect(kind, to)?.ask("hello")
    }

    /// An echo server that goes on until the helper ends.
    pub fn listen(&self, kind: Kind, addr: SocketAddr, name: &str) -> io::Result<u32> {
        self.line.id(&Request::Listen {
            kind,
            addr,
            name: name.to_owned(),
        })
    }

    /// Ends an echo server; the connections that it has accepted stay.
    pub fn unlisten(&self, listener: u32) -> io::Result<()> {
        self.line.done(&Request::Unlisten { listener })
    }

    /// An echo server for thousands of connections, which goes on until the helper ends.
    pub fn listen_crowd(&self, kind: Kind, addr: SocketAddr, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.line
            .id(&Request::Many(Many::Listen { kind, addr, name }))
            .map(drop)
    }

    /// Opens many connections.
    pub fn crowd(&self, plan: CrowdPlan) -> io::Result<Crowd> {
        let count = plan.count;
        let id = self.line.id(&Request::Many(Many::Crowd { plan }))?;
        Ok(Crowd {
            line: Arc::clone(&self.line),
            id,
            count,
        })
    }

    /// Sends forged connections until it ends.
    pub fn flood(&self, plan: FloodPlan) -> io::Result<Flood> {
        let id = self.line.id(&Request::Many(Many::Flood { plan }))?;
        Ok(Flood {
            line: Arc::clone(&self.line),
            id,
        })
    }

    /// Opens connections in a loop until it is stopped.
    pub fn hammer(&self, plan: HammerPlan) -> io::Result<Hammer> {
        let id = self.line.id(&Request::Hammer { plan })?;
        Ok(Hammer {
            line: Arc::clone(&self.line),
            id,
        })
    }

    /// Asks many questions, so many at a time; the answers in their order.
    pub fn survey(&self, asks: Vec<Ask>, threads: usize) -> io::Result<Vec<Observation>> {
        match self.line.ask(&Request::Survey { asks, threads })? {
            Reply::Survey(observed) => Ok(observed),
            other => Err(unexpected(&other)),
        }
    }

    /// Records frames until it is stopped.
    pub fn record(&self) -> io::Result<Recorder> {
        let id = self.line.id(&Request::Record)?;
        Ok(Recorder {
            line: Arc::clone(&self.line),
            id,
        })
    }
}

/// A loop in the helper.
#[derive(Debug)]
pub struct Hammer {
    line: Arc<Line>,
    id: u32,
}

impl Hammer {
    /// The tally up to now.
    pub fn so_far(&self) -> io::Result<Tally> {
        self.line.tally(&Request::HammerSoFar { hammer: self.id })
    }

    /// Ends it after the attempt under way.
    pub fn stop(self) -> io::Result<Tally> {
        self.line.tally(&Request::HammerStop { hammer: self.id })
    }
}

/// Many connections in the helper; those that stay are closed with this value.
#[derive(Debug)]
pub struct Crowd {
    line: Arc<Line>,
    id: u32,
    count: u32,
}

impl Crowd {
    /// The tally up to now.
    pub fn so_far(&self) -> io::Result<Tally> {
        self.line
            .tally(&Request::Many(Many::CrowdSoFar { crowd: self.id }))
    }

    /// The tally once every connection was answered or has failed.
    pub fn opened(&self, within: Duration) -> Result<Tally> {
        self.tally(u64::from(self.count), within)
    }

    /// Asks once more on those that were answered and that stay, `held` of them.
    pub fn ask_again(&self, held: u64, within: Duration) -> Result<Tally> {
        self.line
            .done(&Request::Many(Many::CrowdAsk { crowd: self.id }))?;
        self.tally(held, within)
    }

    fn tally(&self, attempts: u64, within: Duration) -> Result<Tally> {
        poll::until(within, "every connection has ended its turn", || {
            let tally = self.so_far()?;
            Ok((tally.attempts == attempts).then_some(tally))
        })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // The helper may be gone, and its sockets with it.
        let _ = self
            .line
            .done(&Request::Many(Many::CrowdEnd { crowd: self.id }));
    }
}

/// A flood of the helper; it ends with this value.
#[derive(Debug)]
pub struct Flood {
    line: Arc<Line>,
    id: u32,
}

impl Flood {
    /// Connections that were forged up to now.
    pub fn sent(&self) -> io::Result<u64> {
        match self
            .line
            .ask(&Request::Many(Many::FloodSent { flood: self.id }))?
        {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // The helper may be gone, and its threads with it.
        let _ = self
            .line
            .done(&Request::Many(Many::FloodEnd { flood: self.id }));
    }
}

/// A recording in the helper's namespace.
#[derive(Debug)]
pub struct Recorder {
    line: Arc<Line>,
    id: u32,
}

impl Recorder {
    /// The frames that were sent to these addresses.
    pub fn stop(self, to: &[IpAddr]) -> io::Result<Vec<Frame>> {
        match self.line.ask(&Request::RecordStop {
            recorder: self.id,
            to: to.to_vec(),
        })? {
            Reply::Frames(frames) => Ok(frames),
            other => Err(unexpected(&other)),
        }
    }
}

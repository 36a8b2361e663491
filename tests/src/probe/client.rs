//! Owns this side of the helper: its sockets look like sockets here, though they live in another namespace and cgroup.
//! Knows nothing of what is tested with them.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Answer, Family, Frame, HammerPlan, Kind, Received, Reply, Request, Tally};
use crate::place::Place;
use crate::process;

/// How long an answer may take on this machine when it is busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running helper; it ends with the last of this value and its sockets.
#[derive(Debug, Clone)]
pub struct Probe {
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
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
    fn ask(&self, request: &Request) -> io::Result<Reply> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, from) = &mut *pipes;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        to.write_all(text.as_bytes())?;
        text.clear();
        from.read_line(&mut text)?;
        match serde_json::from_str(&text)? {
            Reply::Errno(number) => Err(io::Error::from_raw_os_error(number)),
            Reply::Broken(words) => Err(io::Error::other(words)),
            reply => Ok(reply),
        }
    }

    fn done(&self, request: &Request) -> io::Result<()> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn id(&self, request: &Request) -> io::Result<u32> {
        match self.ask(request)? {
            Reply::Id(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    fn addr(&self, request: &Request) -> io::Result<SocketAddr> {
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

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the helper answered {reply:?}"))
}

impl Probe {
    /// Starts a helper there.
    pub fn start(place: &Place) -> Result<Self> {
        let mut child = process::helper()?
            .arg("serve")
            .args(place.to_args())
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

    /// kill -9: its sockets are closed by the kernel, and by nobody else.
    pub fn kill(&self) {
        let mut child = self
            .line
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Both fail only if it has ended and been waited for.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// A new socket in the helper's namespace and cgroup.
    pub fn socket(&self, kind: Kind, family: Family) -> io::Result<Sock> {
        let id = self.line.id(&Request::Socket { kind, family })?;
        Ok(Sock {
            line: Arc::clone(&self.line),
            id,
            kind,
        })
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

    /// Opens connections in a loop until it is stopped.
    pub fn hammer(&self, plan: HammerPlan) -> io::Result<Hammer> {
        let id = self.line.id(&Request::Hammer { plan })?;
        Ok(Hammer {
            line: Arc::clone(&self.line),
            id,
        })
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

/// A socket of the helper's; closed with this value.
#[derive(Debug)]
pub struct Sock {
    line: Arc<Line>,
    id: u32,
    kind: Kind,
}

impl Sock {
    /// `O_NONBLOCK`
    pub fn nonblocking(&self) -> io::Result<()> {
        self.line.done(&Request::Nonblocking { sock: self.id })
    }

    /// `SO_BINDTODEVICE`
    pub fn bind_device(&self, device: &str) -> io::Result<()> {
        self.line.done(&Request::BindDevice {
            sock: self.id,
            device: device.to_owned(),
        })
    }

    /// `TCP_FASTOPEN_CONNECT`: the next connect sends nothing before the first data.
    pub fn fast_open_connect(&self) -> io::Result<()> {
        self.line.done(&Request::FastOpenConnect { sock: self.id })
    }

    /// bind(2)
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.line.done(&Request::Bind {
            sock: self.id,
            addr,
        })
    }

    /// connect(2)
    pub fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.line.done(&Request::Connect {
            sock: self.id,
            addr,
        })
    }

    /// connect(2) with `AF_UNSPEC`
    pub fn disconnect(&self) -> io::Result<()> {
        self.line.done(&Request::Disconnect { sock: self.id })
    }

    /// Waits until a connect under way has ended; its error is `SO_ERROR`.
    pub fn writable(&self) -> io::Result<()> {
        self.line.done(&Request::Writable { sock: self.id })
    }

    /// send(2) of a line
    pub fn send(&self, text: &str) -> io::Result<()> {
        self.line.done(&Request::Send {
            sock: self.id,
            text: format!("{text}\n"),
        })
    }

    /// sendto(2) of a line
    pub fn send_to(&self, addr: SocketAddr, text: &str) -> io::Result<()> {
        self.line.done(&Request::SendTo {
            sock: self.id,
            addr,
            text: format!("{text}\n"),
        })
    }

    /// sendto(2) of a line with `MSG_FASTOPEN` on a socket that is not connected yet
    pub fn send_fast(&self, addr: SocketAddr, text: &str) -> io::Result<()> {
        self.line.done(&Request::SendFast {
            sock: self.id,
            addr,
            text: format!("{text}\n"),
        })
    }

    /// recvmsg(2), for at most this long
    pub fn recv_within(&self, within: Duration) -> io::Result<Received> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        match self.line.ask(&Request::Recv {
            sock: self.id,
            within_ms,
        })? {
            Reply::Received(received) => Ok(received),
            other => Err(unexpected(&other)),
        }
    }

    /// recvmsg(2) of a server's answer, until the line is whole
    pub fn answer(&self) -> io::Result<Answer> {
        let Received { mut text, from } = self.recv_within(PATIENCE)?;
        while self.kind != Kind::Udp && !text.ends_with('\n') {
            let more = self.recv_within(PATIENCE)?.text;
            if more.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.push_str(&more);
        }
        let mut words = text.trim_end().splitn(3, ' ');
        let parsed = (|| {
            let (name, client, text) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            Some(Answer {
                name: name.to_owned(),
                client,
                from,
                text: text.to_owned(),
            })
        })();
        parsed.ok_or_else(|| io::Error::other(format!("not a server's answer: {text:?}")))
    }

    /// Sends on a connected socket and takes the answer.
    pub fn ask(&self, text: &str) -> io::Result<Answer> {
        self.send(text)?;
        self.checked(text)
    }

    /// Sends one datagram there and takes the answer.
    pub fn ask_at(&self, addr: SocketAddr, text: &str) -> io::Result<Answer> {
        self.send_to(addr, text)?;
        self.checked(text)
    }

    fn checked(&self, text: &str) -> io::Result<Answer> {
        let answer = self.answer()?;
        if answer.text != text {
            return Err(io::Error::other(format!(
                "asked {text:?} on {:?}, got {answer:?}",
                self.kind
            )));
        }
        Ok(answer)
    }

    /// getpeername(2)
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.line.addr(&Request::Peer { sock: self.id })
    }

    /// getsockname(2)
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.line.addr(&Request::Local { sock: self.id })
    }

    /// Gives the open socket to a child process as well, as fork does.
    pub fn share(&self) -> io::Result<Share> {
        let child = self.line.id(&Request::Share { sock: self.id })?;
        Ok(Share {
            line: Arc::clone(&self.line),
            child,
        })
    }

    /// close(2), where the moment matters.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        // The helper may be gone, and its sockets with it.
        let _ = self.line.done(&Request::Close { sock: self.id });
    }
}

/// A child process that holds the same open socket.
#[derive(Debug)]
pub struct Share {
    line: Arc<Line>,
    child: u32,
}

impl Share {
    /// Ends the child, and waits for its end.
    pub fn end(self) -> io::Result<()> {
        self.line.done(&Request::EndShare { child: self.child })
    }
}

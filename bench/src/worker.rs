//! The process that measures: one for all rows, which moves between namespaces and cgroups before
//! each block.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ffi::OsString,
    io::{BufRead as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike as _, SockaddrStorage, connect,
        recv, send, sendto, setsockopt, socket, sockopt,
    },
    time::{TimeVal, TimeValLike as _},
};
use testbed::sandbox::Sandbox;

use crate::{
    connects, look, packet,
    server::ANSWER,
    stats::quantile,
    wire::{Program, Reply, Request, Where, Work},
};

/// As long as a small question to a DNS server.
const DATAGRAM: [u8; 32] = [0; 32];
/// A lost SYN is an error, not a slow connect.
const PATIENCE_SECS: i64 = 3;

/// Answers requests on standard input until it ends, from the last CPU.
pub(crate) fn run() -> Result<()> {
    let cpus = std::thread::available_parallelism().context("count the CPUs")?;
    pin(cpus.get() - 1)?;
    answer()
}

/// Answers requests on standard input until it ends.
pub(crate) fn answer() -> Result<()> {
    let mut worker = Worker {
        sets: Vec::new(),
        at: None,
        programs: BTreeMap::new(),
    };
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line.context("read a request")?)?;
        let reply = worker
            .answer(request)
            .unwrap_or_else(|error| Reply::Broken(format!("{error:#}")));
        let mut text = serde_json::to_string(&reply)?;
        text.push('\n');
        out.write_all(text.as_bytes()).context("answer")?;
        out.flush().context("answer")?;
    }
    Ok(())
}

/// This program as a worker or server, by real-time priority: whatever else the machine does stands
/// behind.
pub(crate) fn words(role: &str) -> Result<[OsString; 5]> {
    let me = std::env::current_exe().context("find this program's file")?;
    Ok([
        "chrt".into(),
        "--fifo".into(),
        "1".into(),
        me.into_os_string(),
        role.into(),
    ])
}

/// Stays on one CPU from here on: the server has the first, the worker the last.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).with_context(|| format!("name CPU {cpu}"))?;
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
        .with_context(|| format!("stay on CPU {cpu}"))
}

struct Worker {
    sets: Vec<Set>,
    at: Option<Where>,
    /// By their pins.
    programs: BTreeMap<PathBuf, OwnedFd>,
}

/// Targets in the order of their use, so that their own memory is read ahead.
struct Set {
    targets: Vec<SockaddrStorage>,
    next: usize,
}

impl Set {
    fn family(&self) -> Result<AddressFamily> {
        let first = self.targets.first().context("a set of no targets")?;
        first.family().context("a target of no family")
    }

    fn take(&mut self) -> Result<SockaddrStorage> {
        let target = *self.targets.get(self.next).context("a set of no targets")?;
        self.next += 1;
        if self.next == self.targets.len() {
            self.next = 0;
        }
        Ok(target)
    }
}

impl Worker {
    fn answer(&mut self, request: Request) -> Result<Reply> {
        Ok(match request {
            Request::Targets { targets } => {
                let targets = targets.into_iter().map(SockaddrStorage::from).collect();
                self.sets.push(Set { targets, next: 0 });
                Reply::Set(self.sets.len() - 1)
            }
            Request::Measure {
                place,
                set,
                work,
                calls,
            } => {
                self.go(&place)?;
                let set = self.sets.get_mut(set).context("no such set of targets")?;
                Reply::Measured(measure(work, set, calls)?)
            }
            Request::Frames {
                place,
                program,
                times,
            } => {
                self.go(&place)?;
                Reply::Measured(vec![self.frames(program, times)?])
            }
            Request::Picks {
                place,
                target,
                count,
            } => {
                self.go(&place)?;
                Reply::Picked(look::picks(target, count)?)
            }
            Request::Connect {
                place,
                target,
                millis,
            } => {
                self.go(&place)?;
                Reply::Connected(connects::until(target, Duration::from_millis(millis))?)
            }
            Request::Await {
                place,
                target,
                wanted,
            } => {
                self.go(&place)?;
                Reply::Measured(vec![look::until_reached(target, wanted)?])
            }
            Request::Reach { place, targets } => {
                self.go(&place)?;
                let reached = targets
                    .into_iter()
                    .map(look::reach)
                    .collect::<Result<_>>()?;
                Reply::Reached(reached)
            }
        })
    }

    fn frames(&mut self, program: Program, times: u32) -> Result<f64> {
        let Program { pin, length } = program;
        let program = match self.programs.entry(pin) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let program = lb_sys::open_pin(new.key()).context("open a program that sends")?;
                new.insert(program)
            }
        };
        let frame = packet::template(length);
        let each = lb_sys::run_live_frames(&*program, &frame, times).context("send frames")?;
        Ok(f64::from(each) * f64::from(times) / 1e9)
    }

    /// Sockets belong to the cgroup and the namespace that their maker is in when it makes them.
    fn go(&mut self, place: &Where) -> Result<()> {
        if self.at.as_ref() != Some(place) {
            Sandbox::from(place).enter()?;
            self.at = Some(place.clone());
        }
        Ok(())
    }
}

fn measure(work: Work, set: &mut Set, calls: u32) -> Result<Vec<f64>> {
    let family = set.family()?;
    Ok(match work {
        Work::UdpConnect => {
            let fd = udp(family)?;
            let start = Instant::now();
            for _ in 0..calls {
                connect(fd.as_raw_fd(), &set.take()?).context("connect, UDP")?;
            }
            vec![nanos(start.elapsed()) / f64::from(calls)]
        }
        Work::SendTo => {
            let fd = udp(family)?;
            let start = Instant::now();
            for _ in 0..calls {
                let to = set.take()?;
                sendto(fd.as_raw_fd(), &DATAGRAM, &to, MsgFlags::empty()).context("sendto")?;
            }
            vec![nanos(start.elapsed()) / f64::from(calls)]
        }
        Work::FirstPacket => {
            let times = timed(calls, || {
                let (fd, to) = (udp(family)?, set.take()?);
                let start = Instant::now();
                connect(fd.as_raw_fd(), &to).context("connect, UDP")?;
                send(fd.as_raw_fd(), &DATAGRAM, MsgFlags::empty()).context("send")?;
                Ok(start.elapsed())
            })?;
            vec![quantile(&times, 0.5).context("no calls")?]
        }
        Work::TcpConnect => {
            let times = timed(calls, || {
                let (fd, to) = (tcp(family)?, set.take()?);
                let start = Instant::now();
                connect(fd.as_raw_fd(), &to).context("connect, TCP")?;
                Ok(start.elapsed())
            })?;
            [0.5, 0.99]
                .into_iter()
                .map(|q| Some(quantile(&times, q)? / 1e3))
                .collect::<Option<_>>()
                .context("no calls")?
        }
        Work::Transaction => {
            let start = Instant::now();
            for _ in 0..calls {
                let fd = tcp(family)?;
                connect(fd.as_raw_fd(), &set.take()?).context("connect, TCP")?;
                ask(&fd)?;
            }
            vec![nanos(start.elapsed()) / f64::from(calls) / 1e3]
        }
        Work::Exchange => {
            let fd = tcp(family)?;
            connect(fd.as_raw_fd(), &set.take()?).context("connect, TCP")?;
            let start = Instant::now();
            for _ in 0..calls {
                ask(&fd)?;
            }
            vec![nanos(start.elapsed()) / f64::from(calls) / 1e3]
        }
    })
}

fn timed(calls: u32, mut call: impl FnMut() -> Result<Duration>) -> Result<Vec<f64>> {
    (0..calls).map(|_| Ok(nanos(call()?))).collect()
}

fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

pub(crate) fn udp(family: AddressFamily) -> Result<OwnedFd> {
    socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context("make a UDP socket")
}

/// Closed with a reset, so that no port waits for its reuse.
pub(crate) fn tcp(family: AddressFamily) -> Result<OwnedFd> {
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("make a TCP socket")?;
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&fd, sockopt::Linger, &linger).context("set SO_LINGER")?;
    let patience = TimeVal::seconds(PATIENCE_SECS);
    setsockopt(&fd, sockopt::SendTimeout, &patience).context("set SO_SNDTIMEO")?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &patience).context("set SO_RCVTIMEO")?;
    Ok(fd)
}

/// The server's own address.
pub(crate) fn ask(fd: &OwnedFd) -> Result<SocketAddr> {
    send(fd.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL).context("send a request")?;
    let mut answer = [0; ANSWER];
    match recv(fd.as_raw_fd(), &mut answer, MsgFlags::MSG_WAITALL) {
        Ok(ANSWER) => {
            let [address @ .., high, low] = answer;
            let address = IpAddr::V6(Ipv6Addr::from(address)).to_canonical();
            Ok(SocketAddr::new(address, u16::from_be_bytes([high, low])))
        }
        Ok(length) => bail!("an answer of {length} bytes"),
        Err(errno) => Err(errno).context("receive an answer"),
    }
}

/// Of the sockets that reach it.
pub(crate) fn family(target: SocketAddr) -> AddressFamily {
    if target.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

//! The helper's loop: one request a line in, one reply a line out, and the things that requests
//! have made.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Write as _},
    process::Child,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{SockAddr, Socket};

use super::{
    Many, Reply, Request, capture::Recording, crowd::Crowd, crowd_server::Server, echo::Listener,
    flood::Flood, hammer::Hammering, socket, survey,
};

/// Answers until standard input ends.
pub(super) fn run() -> Result<()> {
    allow_many_sockets();
    let mut things = Things::default();
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line.context("read a request")?;
        let reply = match serde_json::from_str(&line) {
            Ok(request) => things
                .answer(request)
                .unwrap_or_else(|error| failure(&error)),
            Err(error) => Reply::Broken(format!("request {line}: {error}")),
        };
        serde_json::to_writer(&mut out, &reply).context("write a reply")?;
        out.write_all(b"\n")
            .and_then(|()| out.flush())
            .context("write a reply")?;
    }
    Ok(())
}

/// As many as this process may have by itself; without that the helper goes on with what it has.
fn allow_many_sockets() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

fn failure(error: &io::Error) -> Reply {
    error
        .raw_os_error()
        .map_or_else(|| Reply::Broken(error.to_string()), Reply::Errno)
}

/// Everything that lives between two requests.
#[derive(Default)]
struct Things {
    next: u32,
    sockets: HashMap<u32, Socket>,
    children: HashMap<u32, Child>,
    listeners: HashMap<u32, Listener>,
    hammers: HashMap<u32, Hammering>,
    crowds: HashMap<u32, Crowd>,
    servers: HashMap<u32, Server>,
    floods: HashMap<u32, Flood>,
    recordings: HashMap<u32, Recording>,
}

impl Things {
    fn answer(&mut self, request: Request) -> io::Result<Reply> {
        let done = |()| Reply::Done;
        match request {
            Request::Socket { kind, family } => {
                let made = socket::open(kind, family)?;
                Ok(Reply::Id(put(&mut self.next, &mut self.sockets, made)))
            }
            Request::Nonblocking { sock } => self.socket(sock)?.set_nonblocking(true).map(done),
            Request::BindDevice { sock, device } => self
                .socket(sock)?
                .bind_device(Some(device.as_bytes()))
                .map(done),
            Request::FillOptions { sock } => socket::fill_options(self.socket(sock)?).map(done),
            Request::FastOpenConnect { sock } => {
                socket::fast_open_connect(self.socket(sock)?).map(done)
            }
            Request::Bind { sock, addr } => {
                self.socket(sock)?.bind(&SockAddr::from(addr)).map(done)
            }
            Request::Connect { sock, addr } => {
                self.socket(sock)?.connect(&SockAddr::from(addr)).map(done)
            }
            Request::Disconnect { sock } => socket::disconnect(self.socket(sock)?).map(done),
            Request::Writable { sock } => socket::writable(self.socket(sock)?).map(done),
            Request::Send { sock, text } => socket::send(self.socket(sock)?, &text).map(done),
            Request::SendTo { sock, addr, text } => {
                socket::send_to(self.socket(sock)?, addr, &text).map(done)
            }
            Request::SendFast { sock, addr, text } => {
                socket::send_fast(self.socket(sock)?, addr, &text).map(done)
            }
            Request::Recv { sock, within_ms } => {
                socket::receive(self.socket(sock)?, Duration::from_millis(within_ms))
                    .map(Reply::Received)
            }
            Request::SendPacket { sock, to, bytes } => {
                socket::send_packet(self.socket(sock)?, to, &bytes).map(done)
            }
            Request::TakePacket { sock, within_ms } => {
                let within = Duration::from_millis(within_ms);
                let (from, bytes) = socket::take_packet(self.socket(sock)?, within)?;
                Ok(Reply::Packet(from, bytes))
            }
            Request::Peer { sock } => socket::peer(self.socket(sock)?).map(Reply::Addr),
            Request::Local { sock } => socket::local(self.socket(sock)?).map(Reply::Addr),
            Request::Share { sock } => {
                let child = socket::share(self.socket(sock)?)?;
                Ok(Reply::Id(put(&mut self.next, &mut self.children, child)))
            }
            Request::EndShare { child } => {
                let mut child = take(&mut self.children, child)?;
                child.kill()?;
                child.wait()?;
                Ok(Reply::Done)
            }
            Request::Close { sock } => take(&mut self.sockets, sock).map(drop).map(done),
            Request::Listen { kind, addr, name } => {
                let listener = Listener::start(kind, addr, name)?;
                Ok(Reply::Id(put(
                    &mut self.next,
                    &mut self.listeners,
                    listener,
                )))
            }
            Request::Unlisten { listener } => {
                take(&mut self.listeners, listener).map(drop).map(done)
            }
            Request::Hammer { plan } => Ok(Reply::Id(put(
                &mut self.next,
                &mut self.hammers,
                Hammering::start(plan),
            ))),
            Request::HammerSoFar { hammer } => {
                Ok(Reply::Tally(get(&self.hammers, hammer)?.so_far()))
            }
            Request::HammerStop { hammer } => {
                Ok(Reply::Tally(take(&mut self.hammers, hammer)?.stop()))
            }
            Request::Many(many) => self.many(many),
            Request::Record => {
                let recording = Recording::start()?;
                Ok(Reply::Id(put(
                    &mut self.next,
                    &mut self.recordings,
                    recording,
                )))
            }
            Request::RecordStop { recorder, to } => Ok(Reply::Frames(
                take(&mut self.recordings, recorder)?.stop(&to)?,
            )),
            Request::Survey { asks, threads } => Ok(Reply::Survey(survey::run(&asks, threads))),
        }
    }

    fn many(&mut self, request: Many) -> io::Result<Reply> {
        let done = |()| Reply::Done;
        match request {
            Many::Listen { kind, addr, name } => {
                let server = Server::start(kind, addr, name)?;
                Ok(Reply::Id(put(&mut self.next, &mut self.servers, server)))
            }
            Many::Crowd { plan } => {
                let crowd = Crowd::start(plan);
                Ok(Reply::Id(put(&mut self.next, &mut self.crowds, crowd)))
            }
            Many::CrowdSoFar { crowd } => Ok(Reply::Tally(get(&self.crowds, crowd)?.so_far())),
            Many::CrowdAsk { crowd } => {
                get(&self.crowds, crowd)?.ask_again();
                Ok(Reply::Done)
            }
            Many::CrowdEnd { crowd } => take(&mut self.crowds, crowd).map(drop).map(done),
            Many::Flood { plan } => {
                let flood = Flood::start(plan)?;
                Ok(Reply::Id(put(&mut self.next, &mut self.floods, flood)))
            }
            Many::FloodSent { flood } => Ok(Reply::Count(get(&self.floods, flood)?.sent())),
            Many::FloodEnd { flood } => take(&mut self.floods, flood).map(drop).map(done),
        }
    }

    fn socket(&self, id: u32) -> io::Result<&Socket> {
        get(&self.sockets, id)
    }
}

fn put<T>(next: &mut u32, things: &mut HashMap<u32, T>, thing: T) -> u32 {
    *next += 1;
    things.insert(*next, thing);
    *next
}

fn get<T>(things: &HashMap<u32, T>, id: u32) -> io::Result<&T> {
    things.get(&id).ok_or_else(|| unknown(id))
}

fn take<T>(things: &mut HashMap<u32, T>, id: u32) -> io::Result<T> {
    things.remove(&id).ok_or_else(|| unknown(id))
}

fn unknown(id: u32) -> io::Error {
    io::Error::other(format!("nothing has the number {id}"))
}

//! An echo server for thousands of connections at a time, all in one thread; it answers as the
//! others do.

use std::{io, net::SocketAddr, thread};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockAddr, Socket};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    runtime::Builder,
    sync::oneshot,
};

use super::{Family, Kind, echo::line, socket};

/// Connections that may wait to be accepted: as many as the kernel lets wait.
const BACKLOG: i32 = 4096;
/// Room for the datagrams of seconds in which this machine does something else, in bytes.
const ROOM: usize = 16 << 20;

/// A server; its connections end with it.
pub(super) struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(kind: Kind, addr: SocketAddr, name: String) -> io::Result<Self> {
        let socket = socket::open(kind, Family::of(&addr))?;
        // More connections than a process may have files are shared with other helpers.
        socket.set_reuse_port(true)?;
        if kind == Kind::Udp {
            setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
            socket.bind(&SockAddr::from(addr))?;
        } else {
            socket.set_reuse_address(true)?;
            socket.bind(&SockAddr::from(addr))?;
            socket.listen(BACKLOG)?;
        }
        socket.set_nonblocking(true)?;
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            if let Err(error) = serve(socket, kind, &name, ended) {
                eprintln!("echo server {name} on {addr}: {error}");
            }
        });
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

fn serve(socket: Socket, kind: Kind, name: &str, ended: oneshot::Receiver<()>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let serving = async {
            match kind {
                Kind::Udp => datagrams(UdpSocket::from_std(socket.into())?, name).await,
                _ => accept(TcpListener::from_std(socket.into())?, name).await,
            }
        };
        tokio::select! {
            result = serving => result,
            _ = ended => Ok(()),
        }
    })
}

async fn datagrams(socket: UdpSocket, name: &str) -> io::Result<()> {
    let mut bytes = vec![0; 65536];
    loop {
        // An earlier answer's ICMP error is the client's business.
        let Ok((length, from)) = socket.recv_from(&mut bytes).await else {
            continue;
        };
        let text = String::from_utf8_lossy(&bytes[..length]);
        let answer = line(name, from, text.trim_end());
        // The client may be gone.
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}

async fn accept(listener: TcpListener, name: &str) -> io::Result<()> {
    loop {
        let (stream, from) = match listener.accept().await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            other => other?,
        };
        let name = name.to_owned();
        tokio::spawn(async move {
            // A reset by the client ends the conversation as well as a close does.
            let _ = converse(stream, &name, from).await;
        });
    }
}

async fn converse(stream: TcpStream, name: &str, from: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(512, stream);
    let mut text = String::new();
    while stream.read_line(&mut text).await? > 0 {
        let answer = line(name, from, text.trim_end());
        stream.write_all(answer.as_bytes()).await?;
        text.clear();
    }
    Ok(())
}

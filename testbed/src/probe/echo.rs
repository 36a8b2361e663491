//! The echo servers: each message is answered with the server's name and the client's address as it
//! saw it.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{SockAddr, Socket};

use super::{Family, Kind, socket};

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A server that ends with this value; connections that it has accepted stay.
pub(super) struct Listener {
    end: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Listener {
    pub(super) fn start(kind: Kind, addr: SocketAddr, name: String) -> io::Result<Self> {
        let server = socket::open(kind, Family::of(&addr))?;
        if kind == Kind::Udp {
            server.bind(&SockAddr::from(addr))?;
        } else {
            server.set_reuse_address(true)?;
            server.bind(&SockAddr::from(addr))?;
            server.listen(BACKLOG)?;
        }
        let end = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let result = match kind {
                Kind::Udp => answer_datagrams(server, &name, &seen),
                _ => accept(server, kind, &name, &seen),
            };
            if let Err(error) = result {
                eprintln!("echo server {name} on {addr}: {error}");
            }
        });
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

fn answer_datagrams(server: Socket, name: &str, end: &AtomicBool) -> io::Result<()> {
    server.set_read_timeout(Some(LOOK))?;
    let server = UdpSocket::from(server);
    let mut bytes = vec![0; 65536];
    while !end.load(Ordering::Relaxed) {
        let (length, from) = match server.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(error) if again(&error) => continue,
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes[..length]);
        // The client may be gone: not the server's business.
        let _ = server.send_to(line(name, from, text.trim_end()).as_bytes(), from);
    }
    Ok(())
}

fn accept(server: Socket, kind: Kind, name: &str, end: &AtomicBool) -> io::Result<()> {
    server.set_read_timeout(Some(LOOK))?;
    let server = TcpListener::from(server);
    while !end.load(Ordering::Relaxed) {
        match server.accept() {
            Ok((stream, from)) => {
                let name = name.to_owned();
                thread::spawn(move || {
                    // A reset by the client ends the conversation as well as a close does.
                    let _ = converse(stream, kind, &name, from);
                });
            }
            Err(error) if again(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn converse(stream: TcpStream, kind: Kind, name: &str, from: SocketAddr) -> io::Result<()> {
    if kind != Kind::Sctp {
        stream.set_nodelay(true)?;
    }
    stream.set_read_timeout(None)?;
    let mut writer = stream.try_clone()?;
    for text in BufReader::new(stream).lines() {
        writer.write_all(line(name, from, &text?).as_bytes())?;
    }
    Ok(())
}

pub(super) fn line(name: &str, from: SocketAddr, text: &str) -> String {
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    format!("{name} {from} {text}\n")
}

/// Nothing to read yet, an interrupted call, or an earlier answer's ICMP error.
fn again(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused | ConnectionAborted
    )
}

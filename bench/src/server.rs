//! The one server behind every backend address: it says over TCP which address it was reached by,
//! and takes datagrams.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Socket, Type};

use crate::worker;

/// Where it listens, on every address of its namespace.
pub(crate) const PORT: u16 = 8080;
/// Bytes of an answer: address, IPv4 as a mapped one, and port.
pub(crate) const ANSWER: usize = 18;
/// Connections that are served at once; the kernel wakes one thread for each.
const AT_ONCE: usize = 8;
/// What it says when it listens.
pub(crate) const READY: &str = "listening";

/// Serves until it is killed.
#[expect(clippy::print_stdout, reason = "its starter waits for the word")]
pub(crate) fn run() -> Result<()> {
    worker::pin(0)?;
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    // Never read, and soon full: what a datagram costs here is the same from the first round to the
    // last.
    let sink = Socket::new(Domain::IPV6, Type::DGRAM, None).context("make a UDP socket")?;
    sink.set_recv_buffer_size(1)
        .context("make its buffer small")?;
    sink.bind(&any.into()).context("bind a UDP socket")?;
    let listener = TcpListener::bind(any).context("listen")?;
    println!("{READY}");
    std::thread::scope(|scope| {
        let each = || -> Result<()> {
            loop {
                let (stream, _) = listener.accept().context("accept")?;
                // A client that goes away resets the connection: that is its way to close.
                answer(stream).unwrap_or_default();
            }
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(each)).collect();
        for thread in threads {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread panicked"))?;
        }
        Ok(())
    })
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let local = stream.local_addr()?;
    let address = match local.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut text = [0; ANSWER];
    text[..16].copy_from_slice(&address.octets());
    text[16..].copy_from_slice(&local.port().to_be_bytes());
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&text)?;
    }
    Ok(())
}

//! The servers of the test: each says its name, and whom it sees.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Context as _, Result};

/// Serves the port of TCP and UDP as long as this process lives; where.
pub(super) fn serve(name: &str, at: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(at).with_context(|| format!("listen on {at}"))?;
    let at = listener.local_addr().context("ask for its own address")?;
    let socket = UdpSocket::bind(at).with_context(|| format!("receive on {at}"))?;
    let card = Card(name.to_owned());
    let other = Card(name.to_owned());
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that is gone is no concern of the next one.
            let _ = stream.and_then(|mut stream| {
                let saw = stream.peer_addr()?;
                stream.write_all(card.of(saw).as_bytes())
            });
        }
    });
    thread::spawn(move || -> io::Result<()> {
        let mut bytes = [0; 64];
        loop {
            // An error is that of an answer which did not arrive.
            if let Ok((_, from)) = socket.recv_from(&mut bytes) {
                let _ = socket.send_to(other.of(from).as_bytes(), from);
            }
        }
    });
    Ok(at)
}

/// The name of a server.
struct Card(String);

impl Card {
    fn of(&self, saw: SocketAddr) -> String {
        format!("{} {}\n", self.0, saw.ip().to_canonical())
    }
}

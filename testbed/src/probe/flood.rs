//! Packets with forged sources, sent at a rate until it ends: what clients send that want to fill a
//! table rather than to be served.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use etherparse::PacketBuilder;
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use socket2::{Domain, Protocol, Socket, Type};

use super::{FloodPlan, Forged};

/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(2);

/// A running flood; it ends with this value.
pub(super) struct Flood {
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flood {
    pub(super) fn start(plan: FloodPlan) -> io::Result<Self> {
        let domain = if plan.to.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        // We write the IP header ourselves.
        let raw = Protocol::from(libc::IPPROTO_RAW);
        let socket = Socket::new(domain, Type::RAW, Some(raw))?;
        let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (seen, count) = (Arc::clone(&end), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            if let Err(error) = pour(&socket, &plan, &seen, &count) {
                eprintln!("flood of {}: {error}", plan.to);
            }
        });
        Ok(Self {
            end,
            sent,
            thread: Some(thread),
        })
    }

    /// Connections that were forged up to now.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

fn pour(socket: &Socket, plan: &FloodPlan, end: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
    let start = Instant::now();
    let to = SockaddrStorage::from(SocketAddr::new(plan.to.ip(), 0));
    while !end.load(Ordering::Relaxed) {
        let due = start.elapsed().as_micros() * u128::from(plan.per_second) / 1_000_000;
        while u128::from(sent.load(Ordering::Relaxed)) < due {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            for packet in turn(plan, number)? {
                sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty())?;
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// How many connections later a tuple comes the second time: the server has answered by then.
const LATER: u64 = 200;

/// What is sent at this turn.
fn turn(plan: &FloodPlan, number: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut all = packets(plan, number, 0)?;
    if plan.forged == Forged::Twice
        && let Some(earlier) = number.checked_sub(LATER)
    {
        all.extend(packets(plan, earlier, 1 << 30)?);
    }
    Ok(all)
}

/// The packets of one forged connection, with sequence numbers so much farther.
fn packets(plan: &FloodPlan, number: u64, farther: u32) -> io::Result<Vec<Vec<u8>>> {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    let [a, b, c, d, ..] = mixed.to_le_bytes();
    // No tuple comes twice in 254 × 64,512 connections.
    let port = 1024 + u16::try_from(number % 64_512).unwrap_or(0);
    let host = 1 + u8::try_from(number / 64_512 % 254).unwrap_or(0);
    let sequence = u32::from_le_bytes([a, b, c, d]).wrapping_add(farther);
    let build = || match plan.to.ip() {
        IpAddr::V4(to) => {
            let from = Ipv4Addr::new(198, 51, 100, host);
            PacketBuilder::ipv4(from.octets(), to.octets(), 64)
        }
        IpAddr::V6(to) => {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host));
            PacketBuilder::ipv6(from.octets(), to.octets(), 64)
        }
    };
    let dport = plan.to.port();
    let syn = build().tcp(port, dport, sequence, 64_240).syn();
    let mut all = vec![write(syn, &[])?];
    if plan.forged != Forged::Syn {
        // The server's number is not known: this one is wrong.
        let ack = sequence ^ 0x5bd1_e995;
        let next = sequence.wrapping_add(1);
        all.push(write(build().tcp(port, dport, next, 64_240).ack(ack), &[])?);
        all.push(write(
            build().tcp(port, dport, next, 64_240).ack(ack).psh(),
            b"hello\n",
        )?);
    }
    Ok(all)
}

fn write(
    packet: etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(packet.size(payload.len()));
    packet
        .write(&mut bytes, payload)
        .map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

//! A receiver that looks at whole frames and computes every checksum itself.

use std::{
    io,
    net::IpAddr,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Frame;
use crate::sctp;

/// How often the recorder looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Frames of every protocol, in host order (linux/if_ether.h).
const ETH_P_ALL: u16 = 3;
/// How long frames may keep coming after the end: longer than any exchange of the tests.
const DRAIN: Duration = Duration::from_secs(5);
/// Room for a frame that GRO has put together.
const FRAME: usize = 1 << 17;

/// Records the frames of every device of this namespace until it is stopped.
pub(super) struct Recording {
    end: Arc<AtomicBool>,
    thread: thread::JoinHandle<io::Result<Vec<Vec<u8>>>>,
}

impl Recording {
    pub(super) fn start() -> io::Result<Self> {
        let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_recv_buffer_size(1 << 22)?;
        let end = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&end);
        let thread = thread::spawn(move || record(&socket, &seen));
        Ok(Self { end, thread })
    }

    /// What was sent to these addresses.
    pub(super) fn stop(self, to: &[IpAddr]) -> io::Result<Vec<Frame>> {
        self.end.store(true, Ordering::Relaxed);
        let frames = self
            .thread
            .join()
            .map_err(|_| io::Error::other("the recorder panicked"))??;
        Ok(frames
            .iter()
            .filter_map(|bytes| look(bytes))
            .filter(|frame| to.contains(&frame.to))
            .collect())
    }
}

fn record(socket: &Socket, end: &AtomicBool) -> io::Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    let mut bytes = vec![0; FRAME];
    let mut ending: Option<Instant> = None;
    loop {
        if ending.is_none() && end.load(Ordering::Relaxed) {
            ending = Some(Instant::now());
        }
        match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(length) => frames.push(bytes[..length].to_vec()),
            // Only an empty queue ends the recording: what came before the stop is seen.
            Err(Errno::EAGAIN) if ending.is_some() => return Ok(frames),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ending.is_some_and(|since| since.elapsed() > DRAIN) {
            let last = frames.last().and_then(|bytes| look(bytes));
            return Err(io::Error::other(format!(
                "frames keep coming, {} so far, the last {last:?}",
                frames.len()
            )));
        }
    }
}

/// `None` for what is not IP, and for loopback (all-zero hardware addresses), where no sum is ever
/// made.
fn look(bytes: &[u8]) -> Option<Frame> {
    if bytes.get(..12)?.iter().all(|&byte| byte == 0) {
        return None;
    }
    let packet = SlicedPacket::from_ethernet(bytes).ok()?;
    let mut wrong = Vec::new();
    let (from, to, payload, proto): (IpAddr, IpAddr, _, _) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            if header.calc_header_checksum() != header.header_checksum {
                wrong.push("ip");
            }
            (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
                ip.payload(),
                header.protocol,
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                ip.payload(),
                header.next_header(),
            )
        }
        NetSlice::Arp(_) => return None,
    };
    let ports = match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ if proto == IpNumber::SCTP => sctp::ports(payload.payload).unwrap_or_default(),
        _ => (0, 0),
    };
    let (name, pseudo) = match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(_)) => ("tcp".to_owned(), true),
        Some(TransportSlice::Udp(udp)) if udp.checksum() == 0 && from.is_ipv4() => {
            ("udp".to_owned(), false)
        }
        Some(TransportSlice::Udp(_)) => ("udp".to_owned(), true),
        Some(TransportSlice::Icmpv4(_)) => ("icmp".to_owned(), false),
        Some(TransportSlice::Icmpv6(_)) => ("icmpv6".to_owned(), true),
        None if proto == IpNumber::SCTP => ("sctp".to_owned(), false),
        None => (format!("{proto:?}"), false),
    };
    let summed = packet.transport.is_some() && (name != "udp" || pseudo);
    if summed && sum(from, to, proto.0, payload.payload, pseudo) != 0xffff {
        wrong.push("transport");
    }
    if proto == IpNumber::SCTP && sctp::read(payload.payload).is_err() {
        wrong.push("transport");
    }
    let sums = if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join(" and "))
    };
    Some(Frame {
        length: bytes.len(),
        from,
        to,
        proto: name,
        ports,
        sums,
    })
}

/// The ones' complement sum over what the sum in the packet covers, itself included: all ones if
/// that is right.
fn sum(from: IpAddr, to: IpAddr, proto: u8, payload: &[u8], pseudo: bool) -> u16 {
    let mut covered = Vec::with_capacity(payload.len() + 40);
    if pseudo {
        for addr in [from, to] {
            match addr {
                IpAddr::V4(addr) => covered.extend(addr.octets()),
                IpAddr::V6(addr) => covered.extend(addr.octets()),
            }
        }
        covered.extend(
            u32::try_from(payload.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        covered.extend([0, 0, 0, proto]);
    }
    covered.extend(payload);
    let total: u64 = covered
        .chunks(2)
        .map(|pair| {
            u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    let mut folded = total;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::look;

    fn frame(spoil: Option<usize>) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(1000, 53);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"odd").unwrap();
        if let Some(at) = spoil {
            bytes[at] ^= 0x40;
        }
        bytes
    }

    #[test]
    fn right_sums_are_right_and_a_flipped_bit_is_seen() {
        assert_eq!(look(&frame(None)).unwrap().sums, Ok(()));
        assert_eq!(look(&frame(Some(14 + 8))).unwrap().sums, Err("ip".into()));
        assert_eq!(
            look(&frame(Some(14 + 20 + 8))).unwrap().sums,
            Err("transport".into())
        );
    }
}

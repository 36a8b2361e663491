//! What a packet must look like after a translation: its addresses, ports and hops changed, its
//! sums by the difference, and no other byte. Sums are added up by etherparse.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;

use super::{
    Tuple, crc,
    read::{self, Carried, transport},
};

/// What a translation changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) tuple: Tuple,
    /// Hops taken.
    pub(crate) hops: u8,
}

/// The packet, from its network header on, after the change. `None` if it cannot be read.
pub(crate) fn rewrite(packet: &[u8], change: &Change) -> Option<Vec<u8>> {
    let Change { tuple, hops } = change;
    let old = read::tuple(packet)?;
    let Carried {
        at,
        end,
        protocol,
        headed,
    } = transport(packet)?;
    let mut new = packet.to_vec();
    let v4 = packet[0] >> 4 == 4;
    if v4 {
        put(&mut new, 12, &octets(tuple.src));
        put(&mut new, 16, &octets(tuple.dst));
        new[8] -= hops;
        let header = usize::from(packet[0] & 15) * 4;
        let without = |bytes: &[u8]| [&bytes[..10], &bytes[12..header]].concat();
        let sum = difference([packet[10], packet[11]], &without(packet), &without(&new));
        put(&mut new, 10, &sum);
    } else {
        put(&mut new, 8, &octets(tuple.src));
        put(&mut new, 24, &octets(tuple.dst));
        new[7] -= hops;
    }
    if !headed || packet.len() < at + 4 {
        return Some(new);
    }
    // Of a quote some may be missing; its change is that of the whole packet.
    let said_end = if v4 {
        usize::from(u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
    };
    let whole = |bytes: &[u8]| {
        let mut bytes = bytes[at..end].to_vec();
        bytes.resize(said_end.max(end) - at, 0);
        bytes
    };
    let right_before = crc::sctp(&whole(packet));
    put(&mut new, at, &tuple.sport.to_be_bytes());
    put(&mut new, at + 2, &tuple.dport.to_be_bytes());
    let sum = match protocol {
        6 => at + 16,
        17 => at + 6,
        _ => {
            if let Some(said) = packet.get(at + 8..at + 12) {
                let right_after = crc::sctp(&whole(&new));
                // 0 is still to be made. A wrong sum stays as wrong as it was.
                if said != [0; 4] {
                    let sum: Vec<u8> = (0..4)
                        .map(|i| said[i] ^ right_before[i] ^ right_after[i])
                        .collect();
                    put(&mut new, at + 8, &sum);
                }
            }
            return Some(new);
        }
    };
    let none = protocol == 17 && packet.get(sum..sum + 2) == Some(&[0, 0]);
    if packet.len() < sum + 2 || none {
        return Some(new);
    }
    let words = |t: &Tuple| {
        let ports = [t.sport.to_be_bytes(), t.dport.to_be_bytes()].concat();
        [octets(t.src), octets(t.dst), ports].concat()
    };
    let said = [packet[sum], packet[sum + 1]];
    let mut made = difference(said, &words(&old), &words(tuple));
    // 0 would say that there is no sum.
    if protocol == 17 && made == [0, 0] {
        made = [0xff, 0xff];
    }
    put(&mut new, sum, &made);
    Some(new)
}

/// A sum after some words have changed (RFC 1624, equation 3).
fn difference(said: [u8; 2], old: &[u8], new: &[u8]) -> [u8; 2] {
    let inverted: Vec<u8> = old.iter().map(|byte| !byte).collect();
    Sum16BitWords::new()
        .add_2bytes(said.map(|byte| !byte))
        .add_slice(&inverted)
        .add_slice(new)
        .ones_complement()
        .to_ne_bytes()
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

//! SCTP mapped to TCP's flags (RFC 9260): what the first chunk of a packet does to its association;
//! and the checksum after a rewrite.

use lb_common::crc32c;

use super::{ACK, FIN, Packet, RST, SYN, ports};

/// Ports, verification tag, checksum.
pub const HEADER: u32 = 12;
/// Offset of the verification tag.
pub const TAG: u32 = 4;
/// Offset of the checksum.
pub const SUM: u32 = 8;
/// The common header and that of the first chunk.
pub const READ: u32 = HEADER + 4;
/// Of an INIT, what the kernel looks at before it believes an ICMP error about it: the initiate tag
/// and all before.
pub const QUOTE: u32 = HEADER + 8;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const SHUTDOWN_COMPLETE: u8 = 14;

/// TCP's flags that mean what a chunk of this type does. Each of these types stands alone in its
/// packet or first, but for the SHUTDOWN behind a SACK, which is sent again alone or answered by a
/// SHUTDOWN ACK.
#[inline(always)]
pub fn flags(chunk: u8) -> u8 {
    match chunk {
        INIT => SYN,
        INIT_ACK => SYN | ACK,
        ABORT => RST,
        SHUTDOWN => FIN,
        SHUTDOWN_ACK | SHUTDOWN_COMPLETE => FIN | ACK,
        _ => ACK,
    }
}

/// The checksum of the packet with these ports (host order) instead of its own; addresses are not
/// in it. 0 stays 0: it is still to be made, over a field that must be 0.
#[inline(always)]
pub fn sum(p: &Packet, sport: u16, dport: u16) -> u32 {
    let length = p.len - (p.l4 - p.net);
    after(p.sum, ports(p.sport, p.dport) ^ ports(sport, dport), length)
}

/// The checksum `sum` of a packet of `length` bytes after these bits of its ports have changed.
#[inline(always)]
pub fn after(sum: u32, ports: u32, length: u32) -> u32 {
    if sum == 0 {
        return 0;
    }
    sum ^ crc32c_after(ports, length)
}

/// The checksum that will stand in a packet of the first `len` bytes (at most 20) of these words.
/// Its field, the third word, is 0.
#[inline(always)]
pub fn sum_of(words: [u32; 5], len: u32) -> u32 {
    let mut crc = crc32c::BEGIN;
    let mut i = 0;
    while i < 5 {
        if (i as u32) * 4 < len {
            crc = crc32c_after(crc ^ words[i], 4);
        }
        i += 1;
    }
    !crc
}

/// Not inlined: what it needs to remember is on no stack but its own. Exported, so that the
/// verifier reads it once, and not once more for each call.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn crc32c_after(crc: u32, bytes: u32) -> u32 {
    crc32c::after(crc, bytes as u16)
}

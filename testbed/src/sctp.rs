//! Packets of SCTP as tests make and read them: a common header, one chunk, and a CRC32c computed
//! here, bit by bit.

use anyhow::{Context as _, Result, ensure};

/// Types of chunks (RFC 9260, section 3.2).
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// Opens an association.
    pub const INIT: u8 = 1;
    /// Answers an INIT.
    pub const INIT_ACK: u8 = 2;
    /// Selective acknowledgement.
    pub const SACK: u8 = 3;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Closes it.
    pub const SHUTDOWN: u8 = 7;
    /// Answers a SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Answers an INIT ACK.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers a COOKIE ECHO.
    pub const COOKIE_ACK: u8 = 11;
    /// Answers a SHUTDOWN ACK.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// Ports, tag, checksum.
const HEADER: usize = 12;

/// A packet of one chunk, its sum right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Source and destination.
    pub ports: (u16, u16),
    /// Verification tag.
    pub tag: u32,
    /// Type of the chunk, see [`chunk`].
    pub chunk: u8,
    /// What is in the chunk.
    pub body: Vec<u8>,
}

impl Packet {
    /// As it is on the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self {
            ports,
            tag,
            chunk,
            body,
        } = self;
        let length = u16::try_from(body.len() + 4).unwrap_or(u16::MAX);
        let mut bytes = Vec::new();
        bytes.extend(ports.0.to_be_bytes());
        bytes.extend(ports.1.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend([*chunk, 0]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let sum = crc32c(&bytes);
        bytes[8..HEADER].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Reads a packet; an error if its sum is wrong.
pub fn read(bytes: &[u8]) -> Result<Packet> {
    let ports = ports(bytes).context("cut off")?;
    ensure!(bytes.len() >= HEADER + 4, "no chunk");
    let said = u32::from_le_bytes(bytes[8..HEADER].try_into()?);
    let mut without = bytes.to_vec();
    without[8..HEADER].fill(0);
    let sum = crc32c(&without);
    ensure!(said == sum, "the sum is {said:08x}, not {sum:08x}");
    let length = usize::from(u16::from_be_bytes(bytes[14..16].try_into()?));
    let body = bytes.get(HEADER + 4..HEADER + length);
    Ok(Packet {
        ports,
        tag: u32::from_be_bytes(bytes[4..8].try_into()?),
        chunk: bytes[HEADER],
        body: body.context("a chunk longer than its packet")?.to_vec(),
    })
}

/// Source and destination.
#[must_use]
pub fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let port = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    Some((port(0)?, port(2)?))
}

/// As its definition says, and in no other way.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let odd = crc & 1 == 1;
            crc >>= 1;
            if odd {
                crc ^= 0x82f6_3b78;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_were_written_and_a_flipped_bit_is_seen() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        let packet = Packet {
            ports: (5000, 3868),
            tag: 7,
            chunk: chunk::DATA,
            body: b"odd".to_vec(),
        };
        let mut bytes = packet.bytes();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(read(&bytes).unwrap(), packet);
        bytes[17] ^= 0x40;
        assert!(read(&bytes).is_err());
    }
}

//! CRC32c of SCTP (RFC 9260, appendix A), bit by bit: etherparse has none, and the table of the
//! programs is what is tested.

/// The checksum as it stands in the header, over a packet whose checksum field counts as 0.
pub(crate) fn sctp(packet: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for (i, byte) in packet.iter().enumerate() {
        let byte = if (8..12).contains(&i) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc = crc >> 1 ^ if low == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the polynomial, here of "123456789" behind a header of which nothing
    /// but the field that is left out differs.
    #[test]
    fn it_is_the_castagnoli_polynomial() {
        let mut crc = u32::MAX;
        for byte in b"123456789" {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            }
        }
        assert_eq!(!crc, 0xe306_9283);
        let (mut a, mut b) = ([7; 20], [7; 20]);
        a[8..12].fill(1);
        b[8..12].fill(2);
        assert_eq!(sctp(&a), sctp(&b));
    }
}

//! Which addresses may be ours: one bit for each of a quarter of a million hashes, so that one load
//! answers for most others. Owns the layout of `lb_known`, and the hash that the agent and the
//! programs must share.

use crate::addr::Addr;

/// Words of `lb_known`, and of `lb_known_backs`, which says the same of addresses of backends.
pub const WORDS: u32 = 1 << 12;
/// Bits of the hash: six tell the bit of a word.
const BITS: u32 = WORDS.trailing_zeros() + 6;

/// Where the bit of an address stands: the index of the word, and the bit in it. A bit that is 0
/// says that the address is neither a VIP nor one that node ports answer on; one that is 1 says
/// nothing.
#[inline(always)]
#[must_use]
pub const fn bit(addr: &Addr) -> (u32, u64) {
    let w = addr.words();
    // What differs most, the end of the address, in the lower half: a product carries upwards
    // alone.
    let (high, low) = (
        (w[0] as u64) << 32 | w[1] as u64,
        (w[2] as u64) << 32 | w[3] as u64,
    );
    let product =
        (high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let hash = (product >> (64 - BITS)) as u32;
    (hash >> 6, 1 << (hash & 63))
}

/// The address that stands for a node port's number (host order) in `lb_known`: one of the
/// IPv4-compatible addresses, which no packet has (RFC 4291).
#[inline(always)]
#[must_use]
pub const fn of_port(port: u16) -> Addr {
    Addr::from_words([0, 0, 0, port as u32])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_bit_has_a_word() {
        for i in 0..100_000u32 {
            let (word, bit) = bit(&Addr::v4(i.wrapping_mul(0x9e37_79b9).to_be_bytes()));
            assert!(word < WORDS && bit.is_power_of_two());
        }
    }

    /// Service networks are dense, and pods' are: neither may crowd into few bits.
    #[test]
    fn neighbours_part_ways() {
        let v4 = (0..1u32 << 16).map(|i| Addr::v4((0x0a60_0000 + i).to_be_bytes()));
        let v6 = (0..1u32 << 16).map(|i| {
            let mut a = [0xfd, 0, 0, 0x96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            a[12..].copy_from_slice(&i.to_be_bytes());
            Addr::v6(a)
        });
        for addrs in [v4.collect::<Vec<_>>(), v6.collect()] {
            let bits: HashSet<_> = addrs.iter().map(bit).collect();
            // Of 65,536 random draws of 262,144, some 58,000 would differ.
            assert!(bits.len() > 55_000, "{}", bits.len());
        }
    }
}

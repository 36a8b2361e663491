//! SCTP's checksum, the CRC32c (RFC 9260, appendix A), changed by what changed: what is linear need
//! not be made anew. Knows nothing of packets and their layouts.
//!
//! A CRC is a polynomial over GF(2), the lowest power of x in the highest bit of its number. Of two
//! packets of one length the CRCs differ by the difference of the packets, taken as a polynomial,
//! times x³² modulo the generator: begin and end fall out. To multiply by a power of x is to look
//! up and add: no branch depends on data, so a verifier walks it once.

/// The generator without its highest power.
const GENERATOR: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// What the sixteen values of each of eight hexadecimal digits of a polynomial become.
type Product = [[u32; 16]; 8];

/// Lengths are taken apart by hexadecimal digits.
const PLACES: usize = 4;
/// The product with x to the power of eight times a digit (second index) at its place (first index)
/// of a length in bytes.
static POWERS: [[Product; 16]; PLACES] = powers();

/// `a` times `x`.
const fn times_x(a: u32) -> u32 {
    if a & 1 == 1 {
        a >> 1 ^ GENERATOR
    } else {
        a >> 1
    }
}

/// The table of products with `factor`.
const fn product(factor: u32) -> Product {
    let mut table = [[0; 16]; 8];
    // Of each bit alone, from the highest to the lowest.
    let mut of_bit = factor;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        let (digit, mask) = (bit / 4, 1 << (bit % 4));
        let mut value = 0;
        while value < 16 {
            if value & mask != 0 {
                table[digit][value] ^= of_bit;
            }
            value += 1;
        }
        of_bit = times_x(of_bit);
    }
    table
}

#[expect(clippy::large_stack_arrays, reason = "only the compiler runs it")]
const fn powers() -> [[Product; 16]; PLACES] {
    let mut all = [[[[0; 16]; 8]; 16]; PLACES];
    // x⁸, then its sixteenth power at each further place.
    let mut step = product(ONE >> 8);
    let mut place = 0;
    while place < PLACES {
        let mut power = ONE;
        let mut digit = 0;
        while digit < 16 {
            all[place][digit] = product(power);
            power = times(&step, power);
            digit += 1;
        }
        step = product(power);
        place += 1;
    }
    all
}

/// What a polynomial becomes.
#[inline(always)]
const fn times(product: &Product, of: u32) -> u32 {
    let mut sum = 0;
    let mut digit = 0;
    while digit < 8 {
        sum ^= product[digit][(of >> (4 * digit)) as usize & 15];
        digit += 1;
    }
    sum
}

/// What a CRC begins with.
pub const BEGIN: u32 = !0;

/// The CRC, without its end, after so many bytes of zeros. After four other ones, take their word,
/// as loaded from a packet (little-endian machines, as all that this is built for), into it first:
/// `after(crc ^ word, 4)`.
///
/// When the first four bytes of a packet become others, its checksum changes by `after(old ^ new,
/// length of the packet)`.
#[inline(always)]
#[must_use]
pub fn after(mut crc: u32, bytes: u16) -> u32 {
    let mut bytes = bytes as usize;
    let mut place = 0;
    while place < PLACES {
        crc = times(&POWERS[place][bytes & 15], crc);
        bytes >>= 4;
        place += 1;
    }
    crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte, bit by bit.
    fn whole(bytes: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                };
            }
        }
        !crc
    }

    fn word(bytes: &[u8]) -> u32 {
        u32::from_le_bytes(bytes[..4].try_into().unwrap())
    }

    #[test]
    fn it_is_the_crc_of_the_standards() {
        // RFC 3720, appendix B.4.
        assert_eq!(whole(&[0; 32]), 0x8a91_36aa);
        assert_eq!(whole(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(whole(b"123456789"), 0xe306_9283);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn updating_equals_summing_anew(
            mut packet in prop_oneof![
                prop::collection::vec(any::<u8>(), 12..2000),
                prop::collection::vec(any::<u8>(), 60_000..=65_535),
            ],
            new in any::<[u8; 4]>(),
        ) {
            packet[8..12].fill(0);
            let before = whole(&packet);
            let old = word(&packet);
            packet[..4].copy_from_slice(&new);
            let length = u16::try_from(packet.len()).unwrap();
            prop_assert_eq!(before ^ after(old ^ word(&new), length), whole(&packet));
        }

        #[test]
        fn adding_words_equals_summing_bytes(words in prop::collection::vec(any::<[u8; 4]>(), 0..8)) {
            let crc = words.iter().fold(BEGIN, |crc, bytes| after(crc ^ word(bytes), 4));
            prop_assert_eq!(!crc, whole(&words.concat()));
        }
    }
}

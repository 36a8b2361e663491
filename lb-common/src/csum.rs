//! The internet checksum, changed by what changed (RFC 1624, equation 3). Knows nothing of packets
//! and their layouts.

/// Adds a word that a packet loses: its one's complement.
#[inline(always)]
#[must_use]
pub const fn remove(sum: u64, word: u32) -> u64 {
    sum + !word as u64
}

/// Adds a word that a packet gains.
#[inline(always)]
#[must_use]
pub const fn add(sum: u64, word: u32) -> u64 {
    sum + word as u64
}

/// Adds words that a packet loses, and those that it gains in their place.
#[inline(always)]
#[must_use]
pub const fn replace<const N: usize>(mut sum: u64, old: [u32; N], new: [u32; N]) -> u64 {
    let mut i = 0;
    while i < N {
        sum = add(remove(sum, old[i]), new[i]);
        i += 1;
    }
    sum
}

/// Folds a sum of words to sixteen bits. The result is in the byte order in which the words were
/// loaded.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "folded to sixteen bits")]
pub const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum field after `change`, a sum made by [`replace`]; all as loaded from the packet.
#[inline(always)]
#[must_use]
pub const fn update(field: u16, change: u64) -> u16 {
    !fold(change + (!field) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The checksum as RFC 1071 defines it, over 16-bit words.
    fn full(words: &[u32]) -> u16 {
        let mut sum = 0u32;
        for w in words {
            for half in [w & 0xffff, w >> 16] {
                sum += half;
                sum = (sum & 0xffff) + (sum >> 16);
            }
        }
        !u16::try_from(sum).unwrap()
    }

    proptest! {
        #[test]
        fn updating_equals_summing_anew(
            mut words in prop::collection::vec(any::<u32>(), 1..20),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..10),
        ) {
            // A header that is not all zeros, as none on the wire is.
            words.push(0x0006_0001);
            let before = full(&words);
            let mut change = 0;
            for (at, new) in edits {
                let at = at.index(words.len() - 1);
                change = replace(change, [words[at]], [new]);
                words[at] = new;
            }
            prop_assert_eq!(update(before, change), full(&words));
        }
    }
}

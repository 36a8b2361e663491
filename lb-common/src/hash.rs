//! The hash that places packets: which backend, and which source port. It is keyed, so that no
//! client can compute where its packets go. Layout of `lb_hash_key`.

/// The key, the same on every node of a cluster and across restarts: the value of `lb_hash_key`.
/// All zero until the agent has one. Programs may see half of a new one while it is written: a flow
/// that opens in that moment is placed by neither key, and stays where it is by its entry.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct HashKey {
    /// The first eight bytes, read as little-endian.
    pub k0: u64,
    /// The other eight.
    pub k1: u64,
}

/// `SipHash-1-3` on its way through the input, in blocks of eight bytes. A hash that only starts
/// from a key would not do: in those that multiply and rotate, inputs are known that collide under
/// every key.
#[derive(Clone, Copy)]
pub struct Hasher([u64; 4]);

impl Hasher {
    /// Nothing was read.
    #[inline(always)]
    #[must_use]
    pub const fn new(key: HashKey) -> Self {
        Self([
            key.k0 ^ 0x736f_6d65_7073_6575,
            key.k1 ^ 0x646f_7261_6e64_6f6d,
            key.k0 ^ 0x6c79_6765_6e65_7261,
            key.k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Takes in eight bytes, read as little-endian.
    #[inline(always)]
    pub const fn absorb(&mut self, block: u64) {
        self.0[3] ^= block;
        self.round();
        self.0[0] ^= block;
    }

    /// The last block's rounds. What came before must have told the length of the input (see
    /// [`last`]).
    #[inline(always)]
    pub const fn finish(&mut self) -> u64 {
        self.0[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.0[0] ^ self.0[1] ^ self.0[2] ^ self.0[3]
    }

    #[inline(always)]
    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

/// Two words as a block.
#[inline(always)]
#[must_use]
pub const fn block(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// The last block of an input of so many words: its length in bytes, and its last word if the number
/// is odd.
#[inline(always)]
#[must_use]
pub const fn last(words: usize, rest: u32) -> u64 {
    (words as u64) << 58 | rest as u64
}

/// A 32-bit hash of words: `SipHash-1-3` folded, as the kernel's `hsiphash` is on 64-bit machines
/// (`include/linux/siphash.h`).
#[inline(always)]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half, as hsiphash"
)]
pub const fn hash<const N: usize>(key: HashKey, words: [u32; N]) -> u32 {
    let mut hasher = Hasher::new(key);
    let mut i = 0;
    while i + 1 < N {
        hasher.absorb(block(words[i], words[i + 1]));
        i += 2;
    }
    hasher.absorb(last(N, if i < N { words[i] } else { 0 }));
    hasher.finish() as u32
}

#[cfg(any(feature = "user", test))]
impl HashKey {
    /// The key that a secret stands for: two hashes of its bytes. It says nothing of the secret that
    /// could be read from it, and the same secret means the same key on every node.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        // "lb-agent", once for each half.
        const LABEL: u64 = 0x6c62_2d61_6765_6e74;
        let half = |n| hash_bytes(Self { k0: LABEL, k1: n }, secret);
        Self {
            k0: half(0),
            k1: half(1),
        }
    }

    /// No key was given yet.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

/// `SipHash-1-3` of bytes, unfolded.
#[cfg(any(feature = "user", test))]
fn hash_bytes(key: HashKey, bytes: &[u8]) -> u64 {
    let little_endian = |bytes: &[u8]| {
        let mut block = [0; 8];
        block[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(block)
    };
    let mut hasher = Hasher::new(key);
    let (blocks, rest) = bytes.as_chunks::<8>();
    for block in blocks {
        hasher.absorb(little_endian(block));
    }
    hasher.absorb((bytes.len() as u64) << 56 | little_endian(rest));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use super::*;
    use crate::select::scale;

    const KEY: HashKey = HashKey {
        k0: 0x0706_0504_0302_0100,
        k1: 0x0f0e_0d0c_0b0a_0908,
    };

    fn folded(bytes: &[u8]) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the lower half, as hsiphash"
        )]
        {
            hash_bytes(KEY, bytes) as u32
        }
    }

    /// `std`'s hasher is `SipHash-1-3` with a key of zero.
    fn std(bytes: &[u8]) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(bytes);
        hasher.finish()
    }

    #[test]
    fn it_is_siphash_1_3() {
        let bytes: Vec<u8> = (0..64).collect();
        for n in 0..64 {
            let ours = hash_bytes(HashKey::default(), &bytes[..n]);
            assert_eq!(ours, std(&bytes[..n]), "{n} bytes");
        }
        // The kernel's own test vectors of hsiphash (`lib/tests/siphash_kunit.c`): the numbers 0 to 7
        // under the key 0 to 15.
        assert_eq!(folded(&[]), 0x050f_c4dc);
        assert_eq!(folded(&bytes[..1]), 0x7d57_ca93);
    }

    #[test]
    fn words_are_hashed_as_their_bytes_are() {
        let words: [u32; 5] = [0x0a00_0001, 0x8000_0000, 7, 443, 0xffff_ffff];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(hash(KEY, words), folded(&bytes));
        let [a, b, c, d, _] = words;
        assert_eq!(hash(KEY, [a, b, c, d]), folded(&bytes[..16]));
    }

    #[test]
    fn a_secret_means_one_key_and_another_one_another() {
        let of = |uid: &str| HashKey::of(uid.as_bytes());
        let uid = "5a1f0c4e-6d0c-4a5e-9f43-1c2b3a4d5e6f";
        assert_eq!(of(uid), of(uid));
        assert_ne!(of(uid), of("5a1f0c4e-6d0c-4a5e-9f43-1c2b3a4d5e6e"));
        assert_ne!(of(uid).k0, of(uid).k1);
        assert!(!of("").is_absent());
    }

    #[test]
    fn hashes_spread_evenly_over_the_slots_under_every_key() {
        for (key, count) in [
            (HashKey::default(), 3u16),
            (KEY, 2),
            (KEY, 7),
            (HashKey::of(b"other"), 100),
        ] {
            let n = 100_000u32;
            let mut bins = vec![0f64; count.into()];
            for i in 0..n {
                bins[usize::from(scale(hash(key, [i, 0x0a00_0001, 443]), count))] += 1.0;
            }
            let expect = f64::from(n) / f64::from(count);
            let chi: f64 = bins.iter().map(|b| (b - expect).powi(2) / expect).sum();
            // Mean count-1, deviation sqrt(2(count-1)): five deviations.
            let dof = f64::from(count - 1);
            assert!(chi < dof + 5.0 * (2.0 * dof).sqrt(), "{count}: chi² {chi}");
        }
    }
}

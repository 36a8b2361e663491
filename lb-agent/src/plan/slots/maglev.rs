//! Maglev's table (Eisenbud and others, NSDI 2016, 3.4): each backend fills places in an order of
//! its own, in turns, until none is left. When a backend goes, the others keep nearly all places
//! that they had.
//!
//! A backend is known by its address and port, so every node makes the same table.

use lb_common::select::hash;

use super::Member;

/// Sizes of tables: primes, each at least 100 times the backends that it is for, as the paper asks,
/// up to the 65,535 slots of a pool. Few of them, since another size moves most flows.
const SIZES: [u32; 5] = [251, 1021, 4093, 16_381, 65_521];
/// Places a backend.
const EACH: usize = 100;

/// Two hashes of a backend: where its order begins, and its steps.
pub(super) type Name = [u32; 2];

pub(super) fn name(member: &Member) -> Name {
    let [a, b, c, d] = member.addr.words();
    let port = u32::from(member.port);
    [0x6c62_2d61, 0x6167_656e].map(|seed| hash([seed, a, b, c, d, port]))
}

/// How many slots a pool of so many backends should have.
pub(super) fn size(backends: usize) -> u32 {
    let is_enough = |size: &&u32| **size as usize >= EACH * backends;
    let [.., largest] = SIZES;
    SIZES.iter().find(is_enough).copied().unwrap_or(largest)
}

/// How many it has within a share of its Service's slots: as many as wanted, or the next smaller
/// size; `None` if no size is within the share and gives each backend a place.
pub(super) fn within(wanted: u32, backends: usize, share: usize) -> Option<u32> {
    let sizes = SIZES.iter().rev().copied();
    let mut fit = sizes.filter(|size| *size <= wanted && *size as usize <= share);
    fit.next().filter(|size| *size as usize >= backends)
}

/// The table of that size: indices into `names`. A backend gets turns by its weight: the heaviest one in each
/// round, one of half the weight in each second round.
pub(super) fn table(names: &[Name], weights: &[u16], size: u32) -> Vec<usize> {
    let Some(heaviest) = weights.iter().copied().max().map(u32::from) else {
        return Vec::new();
    };
    // In the first round everybody has a turn, so that nobody goes without a place.
    let mut orders: Vec<Order> = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| Order::new(*name, size, heaviest - u32::from(*weight)))
        .collect();
    let mut table = vec![None; size as usize];
    let mut left = size;
    loop {
        for (backend, (order, weight)) in orders.iter_mut().zip(weights).enumerate() {
            order.credit += u32::from(*weight);
            if order.credit < heaviest {
                continue;
            }
            order.credit -= heaviest;
            while table[order.at as usize].is_some() {
                order.advance(size);
            }
            table[order.at as usize] = Some(backend);
            left -= 1;
            if left == 0 {
                return table.into_iter().flatten().collect();
            }
        }
    }
}

/// The order in which a backend asks for places: a permutation, since the size is a prime.
struct Order {
    at: u32,
    step: u32,
    credit: u32,
}

impl Order {
    fn new([offset, step]: Name, size: u32, credit: u32) -> Self {
        Self {
            at: offset % size,
            step: step % (size - 1) + 1,
            credit,
        }
    }

    fn advance(&mut self, size: u32) {
        self.at = (self.at + self.step) % size;
    }
}

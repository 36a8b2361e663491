//! Programs that run while the agent writes, one step at a time: frontend, word 0, slot, backend.
//! They hold what they read across any number of writes, as a program on another CPU may, but never
//! across a barrier.

use std::collections::BTreeSet;

use lb_common::{
    frontend::{self, FrontendValue},
    pool::PoolWord,
    slot::Slot,
    spill::Area,
};

use crate::{
    maps::mem::{Moment, World},
    plan::FrontendKey,
};

/// Whose backend may an address of this frontend lead to? Addresses and services by number.
pub(super) trait Expect: Send + 'static {
    fn allowed(&self, front: &FrontendKey, backend: lb_common::Addr) -> bool;
}

/// The readers under way.
pub(super) struct Readers<E> {
    seed: u64,
    running: Vec<Reader>,
    expect: E,
}

struct Reader {
    front: FrontendKey,
    at: FrontendValue,
    step: Step,
    retried: bool,
}

#[derive(Clone, Copy)]
enum Step {
    Word,
    Slot(PoolWord),
    Backend { id: u32 },
    Done,
}

impl<E: Expect> Readers<E> {
    pub(super) fn new(seed: u64, expect: E) -> Self {
        Self {
            seed: seed | 1,
            running: Vec::new(),
            expect,
        }
    }

    /// To be called by the maps; panics when a reader sees what it must not.
    pub(super) fn observe(&mut self, world: &World, moment: Moment) {
        match moment {
            Moment::Barrier => {
                while !self.running.is_empty() {
                    self.advance(0, world);
                }
            }
            Moment::Wrote => {
                if self.running.len() < 16 {
                    self.start(world);
                }
                for _ in 0..2 {
                    if !self.running.is_empty() {
                        let n = self.below(self.running.len());
                        self.advance(n, world);
                    }
                }
            }
        }
    }

    fn start(&mut self, world: &World) {
        let services = world.frontends.entries.iter();
        let services = services.map(|(k, r)| (FrontendKey::Address(*k), *r));
        let nodeports = world.nodeports.entries.iter();
        let nodeports = nodeports.map(|(k, r)| (FrontendKey::NodePort(*k), *r));
        let all: Vec<_> = services
            .chain(nodeports)
            .filter(|(_, r)| r.flags & frontend::VIP_MARK == 0)
            .collect();
        if all.is_empty() {
            return;
        }
        let (front, at) = all[self.below(all.len())];
        self.running.push(Reader {
            front,
            at,
            step: Step::Word,
            retried: false,
        });
    }

    fn advance(&mut self, n: usize, world: &World) {
        let random = self.below(1 << 16);
        let reader = &mut self.running[n];
        let index = reader.at.pool;
        let stale = |reader: &mut Reader, why: &str| {
            assert!(!reader.retried, "{:?}: twice {why}", reader.front);
            reader.retried = true;
            Step::Word
        };
        reader.step = match reader.step {
            Step::Word => {
                let svc = &world.pools[index as usize];
                assert!(svc.id == index, "{:?} leads nowhere", reader.front);
                match svc.count {
                    0 => Step::Done,
                    count => Step::Slot(PoolWord {
                        base: svc.base,
                        count,
                        generation: svc.generation,
                    }),
                }
            }
            Step::Slot(word) => {
                let at = place(world, index, word, random);
                let Slot {
                    backend,
                    pool: service,
                } = world.slots[at as usize];
                if service == index {
                    Step::Backend { id: backend }
                } else {
                    stale(reader, "a foreign slot")
                }
            }
            Step::Backend { id } => {
                let backend = &world.backends[id as usize];
                if backend.port == 0 {
                    stale(reader, "a free backend")
                } else {
                    assert!(
                        self.expect.allowed(&reader.front, backend.addr),
                        "{:?} leads to {}",
                        reader.front,
                        backend.addr
                    );
                    Step::Done
                }
            }
            Step::Done => Step::Done,
        };
        if matches!(reader.step, Step::Done) {
            self.running.swap_remove(n);
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        usize::try_from(self.seed >> 8).unwrap() % n
    }
}

/// One of the slots, or one of those behind them that connections may leave for. (The flags may be
/// older or newer than word 0: what stands there decides.)
fn place(world: &World, index: u32, word: PoolWord, random: usize) -> u32 {
    let PoolWord {
        base,
        count,
        generation,
    } = word;
    let slots = u32::from(count);
    let load = |at: u32| world.slots.get(at as usize).copied().unwrap_or(Slot::FREE);
    // With weights before it, or without.
    let behind = base + if random & 1 == 0 { slots } else { 2 * slots };
    let area = Area::of(index, generation, [load(behind), load(behind + 1)]);
    let (from, count) = match area.filter(|area| random & 2 == 0 && area.outside > 0) {
        Some(area) => (
            behind + Area::WORDS + u32::from(area.inside),
            u32::from(area.outside),
        ),
        None => (base, slots),
    };
    from + u32::try_from(random / 4).unwrap() % count
}

/// A set of services that may stand behind each frontend.
pub(super) type Owners = BTreeSet<u8>;

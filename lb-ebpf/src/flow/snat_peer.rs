//! Which backends answer to an address of ours (`lb_snat_peers`): so that their late packets never
//! enter our stack, and so that a search for a port that cannot succeed stays short.

use aya_ebpf::bindings::BPF_ANY;

use crate::{config, lru, maps::SNAT_PEERS, packet::Packet, scratch::Scratch};

/// The value of a backend with ports to spare: no time.
const ENOUGH: u32 = 1;

/// Units of 2²⁷ ns (134 ms), never [`ENOUGH`].
#[inline(always)]
fn tick(now: u64) -> u32 {
    (now >> 27) as u32 | 1 << 31
}

/// Remembers that the backend of `s.reverse_key` answers to an address of ours. Was its last search
/// for a port in vain, a second ago at most?
#[inline(always)]
pub fn is_exhausted(s: &mut Scratch, now: u64) -> bool {
    let port = s.reverse_key.dport;
    s.reverse_key.dport = 0;
    // SAFETY: one aligned u32, read at once.
    let found = unsafe { SNAT_PEERS.get(&s.reverse_key) }.copied();
    if found.is_none() {
        // A full LRU evicts; a failure means that a late packet of this backend may reach the
        // stack.
        let _ = lru::insert(&SNAT_PEERS, &s.reverse_key, &ENOUGH, BPF_ANY);
    }
    s.reverse_key.dport = port;
    matches!(found, Some(at) if tick(now).wrapping_sub(at) < 8)
}

/// Notes that no port was left towards the backend of `s.reverse_key`.
#[inline(always)]
pub fn exhausted(s: &mut Scratch, now: u64) {
    let port = s.reverse_key.dport;
    s.reverse_key.dport = 0;
    let _ = lru::insert(&SNAT_PEERS, &s.reverse_key, &tick(now), BPF_ANY);
    s.reverse_key.dport = port;
}

/// Is this port (host order) one that nothing but our rewritten sources uses?
#[inline(always)]
pub fn in_range(port: u16) -> bool {
    let port = u32::from(port);
    port >= config::snat_port_min() && port <= config::snat_port_max()
}

/// Was this sent to a port of our own range by a backend that we rewrote sources for?
#[inline(always)]
pub fn is_stray_reply(p: &Packet, s: &mut Scratch) -> bool {
    if !in_range(p.dport) {
        return false;
    }
    s.key.dport = 0;
    // SAFETY: presence alone is read.
    let known = unsafe { SNAT_PEERS.get(&s.key) }.is_some();
    s.key.dport = p.dport;
    known
}

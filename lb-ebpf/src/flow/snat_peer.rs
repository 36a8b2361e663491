//! Which backends answer to an address and port of ours (`lb_snat_peers`), so that their late
//! packets never enter our stack.

use aya_ebpf::bindings::BPF_ANY;

use crate::{config, maps::SNAT_PEERS, packet::Packet, scratch::Scratch};

/// Remembers that the backend of `s.reverse_key` answers to an address of ours.
#[inline(always)]
pub fn remember_peer(s: &mut Scratch) {
    let port = s.reverse_key.dport;
    s.reverse_key.dport = 0;
    // SAFETY: presence alone is read.
    if unsafe { SNAT_PEERS.get(&s.reverse_key) }.is_none() {
        // A full LRU evicts; a failure means that a late packet of this backend may reach the
        // stack.
        let _ = SNAT_PEERS.insert(&s.reverse_key, 1u32, u64::from(BPF_ANY));
    }
    s.reverse_key.dport = port;
}

/// Is this port (host order) one of our own range?
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

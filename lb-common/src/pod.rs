//! The types that cross into the kernel as bytes. The only unsafe code of this crate: no padding,
//! any bit pattern valid.

use crate::{
    addr::Addr,
    affinity::{Affinity, AffinityKey, AffinityShare},
    backend::Backend,
    dev::Dev,
    flow::{Flow, FlowKey, PortRange, PortRanges, RANGES},
    fragment::{Fragment, FragmentKey, Oversized},
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    handshakes::Handshakes,
    hash::HashKey,
    member::MemberKey,
    pool::Pool,
    refusal::Refusals,
    slot::Slot,
    sock::{Agent, SockRecord, UdpPeer, UdpPeerKey},
    srcrange::SourceRange,
    stats::PoolStats,
    tcp::{BUCKETS, PoolTcp},
    trace::{Decision, Filter, Rate},
    xdp_dev::XdpDev,
};

/// Asserts that the fields' sizes add up to the whole (no padding), and names every field (a new
/// one breaks the build).
macro_rules! pod {
    ($($t:ident { $($field:ident: $ft:ty),+ $(,)? })+) => {$(
        const _: () = assert!(size_of::<$t>() == 0 $(+ size_of::<$ft>())+);
        const _: fn($t) = |v| {
            let $t { $($field),+ } = v;
            $(let _: $ft = $field;)+
        };
        // SAFETY: `repr(C)`, only integers and arrays of integers, no padding (asserted above),
        // `Copy` and `'static`.
        unsafe impl aya::Pod for $t {}
    )+};
}

pod! {
    Addr { b: [u8; 16] }
    VipKey { addr: Addr, port: u16, proto: u8, scope: u8 }
    NodePortKey { port: u16, proto: u8, scope: u8, family: u8, pad: [u8; 3] }
    FrontendValue { pool: u32, flags: u32 }
    NodeAddr { ifindex: u32, flags: u32 }
    Pool {
        base: u32, count: u16, generation: u16, affinity_secs: u32, scheduler: u8, pad: u8, flags: u16, id: u32, max_connections: u32, max_age_secs: u32, aged_since: u32,
    }
    Slot { backend: u32, pool: u32 }
    MemberKey { pool: u32, backend: u32 }
    PoolStats { connections: u64, packets: u64, bytes: u64, rejects: u64 }
    PoolTcp { rtt_sum_us: u64, rtt: [u32; BUCKETS], failures: u32, retransmits: u32 }
    Backend { addr: Addr, port: u16, proto: u8, state: u8, weight: u16, flags: u16 }
    SockRecord {
        vip: Addr, backend: Addr, vip_port: u16, backend_port: u16, proto: u8, kind: u8, counted: u8, closed: u8,
        backend_id: u32, pool: u32, cookie: u64, netns: u64,
    }
    Agent { tgid: u32, records_lost: u32, cgroup: u64 }
    UdpPeerKey { cookie: u64, addr: Addr, port: u16, pad: [u16; 3] }
    UdpPeer { addr: Addr, port: u16, pad: u16, pool: u32, backend_id: u32, check: u32 }
    AffinityKey { client: Addr, pool: u32 }
    Affinity { last_used_ns: u64, backend: u32, pad: u32 }
    AffinityShare { records: u32, share: u32 }
    SourceRange { pool: u32, addr: Addr }
    FlowKey { src: Addr, dst: Addr, sport: u16, dport: u16, proto: u8, pad: [u8; 3] }
    Flow {
        src: Addr, dst: Addr, sport: u16, dport: u16, ifindex: u32, pool: u32, backend: u32, generation: u32, direction: u8,
        flags: u8, client: u8, server: u8, proof: u32, seen: u32,
    }
    FragmentKey { src: Addr, dst: Addr, id: u32, proto: u8, pad: [u8; 3] }
    Fragment { seen_ns: u64, sport: u16, dport: u16, to_stack: u32 }
    Oversized { src: Addr, dst: Addr, sport: u16, proto: u8, pad: [u8; 5], count: u64 }
    Refusals { paid_until_ns: u64 }
    HashKey { k0: u64, k1: u64 }
    PortRange { first: u16, count: u16 }
    PortRanges { total: u32, pad: u32, ranges: [PortRange; RANGES] }
    Dev { source_v4: Addr, source_v6: Addr, flags: u32, header_len: u32 }
    Handshakes { failed: u32, answered: u32 }
    Decision {
        time_ns: u64, reasons: u64, netns: u64, cgroup: u64, client: Addr, vip: Addr, backend: Addr, client_port: u16,
        vip_port: u16, backend_port: u16, proto: u8, hook: u8, pool: u32, backend_id: u32, cpu: u32, pid: u32, verdict: i32,
        reply: u8, pad: [u8; 3], comm: [u8; 16],
    }
    Filter { reasons: u64, hooks: u32, flags: u32, limit: u32, backend_port: u32, session: u32, pad: u32 }
    Rate { second_ns: u64, count: u64, limited: u64, full: u64 }
    XdpDev { ifindex: u32, flags: u32, mac: [u8; 6], pad: u16 }
}

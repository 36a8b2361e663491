//! The maps by name: capacities, ABI versions, and whether they outlive an upgrade. Owns what a pin
//! is called.

/// One map of the ABI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSpec {
    /// At most 15 bytes, `lb_` in front: what `bpftool map` shows.
    pub name: &'static str,
    /// Entries unless the agent is told otherwise; 0 where the kernel decides (socket storage).
    pub capacity: u32,
    /// Goes up when the layout of key or value changes.
    pub version: u32,
    /// Whether its content outlives an upgrade.
    pub lifetime: Lifetime,
    /// The name that agents before this one pinned the map under, with the same layout. Empty:
    /// none.
    pub former: &'static str,
}

/// What becomes of a map's content when another version of the agent starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// It is rebuilt from the cluster.
    Config,
    /// It is kept, since it cannot be rebuilt.
    State,
    /// It is of what runs now, refers to no other map, and means nothing afterwards.
    Scratch,
}

macro_rules! maps {
    ($($(#[doc = $doc:literal])+ $id:ident: $name:literal, $capacity:expr, v $version:literal, $lifetime:ident $(, was $former:literal)?;)+) => {
        $($(#[doc = $doc])+ pub const $id: MapSpec = MapSpec {
            name: $name, capacity: $capacity, version: $version, lifetime: maps!(@ $lifetime), former: concat!($($former)?),
        };)+
        /// Every map, in the order in which they are created.
        pub const ALL: &[MapSpec] = &[$($id),+];
    };
    (@ config) => { Lifetime::Config };
    (@ state) => { Lifetime::State };
    (@ scratch) => { Lifetime::Scratch };
}

/// Flag of the arrays that the agent writes by aligned stores through a shared mapping
/// (`BPF_F_MMAPABLE`, Linux 5.5).
pub const MMAPABLE: usize = 1 << 10;

maps! {
    /// [`VipKey`](crate::frontend::VipKey) → [`FrontendValue`](crate::frontend::FrontendValue)
    FRONTENDS: "lb_frontends", 1 << 18, v 1, config, was "lb_services";
    /// [`NodePortKey`](crate::frontend::NodePortKey) →
    /// [`FrontendValue`](crate::frontend::FrontendValue)
    NODEPORTS: "lb_nodeports", 1 << 13, v 1, config;
    /// [`Addr`](crate::Addr) → [`NodeAddr`](crate::frontend::NodeAddr)
    NODEADDRS: "lb_nodeaddrs", 1 << 10, v 1, config;
    /// hash of an address / 64 → the bits of 64 hashes (see [`known`](crate::known)); mmapable
    KNOWN: "lb_known", crate::known::WORDS, v 1, config;
    /// pool index → [`Pool`](crate::pool::Pool); mmapable
    POOLS: "lb_pools", 1 << 16, v 1, config, was "lb_svc";
    /// slot → [`Slot`](crate::slot::Slot); mmapable
    SLOTS: "lb_slots", 1 << 20, v 1, config;
    /// backend id → [`Backend`](crate::backend::Backend); mmapable
    BACKENDS: "lb_backends", 1 << 19, v 1, config;
    /// [`MemberKey`](crate::member::MemberKey) → flags; not preallocated
    MEMBERS: "lb_members", 1 << 20, v 1, config;
    /// pool index → cursor of rr and wrr
    SCHED: "lb_sched", 1 << 16, v 1, config;
    /// backend id → open connections of sockets; mmapable
    ACTIVE: "lb_active", 1 << 19, v 1, config;
    /// backend id → [`FlowCounts`](crate::load::FlowCounts), as one word; mmapable
    FLOW_COUNTS: "lb_flow_counts", 1 << 19, v 1, config;
    /// backend id → [`Handshakes`](crate::handshakes::Handshakes); mmapable
    HANDSHAKES: "lb_handshakes", 1 << 19, v 1, config;
    /// socket → [`SockRecord`](crate::sock::SockRecord)
    SK: "lb_sk", 0, v 1, state;
    /// [`UdpPeerKey`](crate::sock::UdpPeerKey) → [`UdpPeer`](crate::sock::UdpPeer)
    UDP_PEERS: "lb_udp_peers", 1 << 17, v 1, state;
    /// one entry, [`Agent`](crate::sock::Agent)
    AGENT: "lb_agent", 1, v 1, config;
    /// cookie of a network namespace (SO_NETNS_COOKIE) whose sockets are left alone → 1
    NETNS: "lb_netns", 1 << 13, v 1, config;
    /// [`AffinityKey`](crate::affinity::AffinityKey) → [`Affinity`](crate::affinity::Affinity)
    AFFINITY: "lb_affinity", 1 << 16, v 1, state;
    /// pool index → [`AffinityShare`](crate::affinity::AffinityShare); mmapable
    AFFINITY_SHARES: "lb_aff_shares", 1 << 16, v 1, config;
    /// prefix + [`SourceRange`](crate::srcrange::SourceRange) → 1
    SRCRANGES: "lb_srcranges", 1 << 16, v 1, config;
    /// [`FlowKey`](crate::flow::FlowKey) → [`Flow`](crate::flow::Flow), confirmed by a reply
    FLOWS: "lb_flows", 1 << 18, v 1, state;
    /// the same, not yet confirmed: a flood drives out these alone
    NEWFLOWS: "lb_newflows", 1 << 16, v 1, state;
    /// [`FlowKey`](crate::flow::FlowKey) of a backend's packets to an address that we rewrote
    /// sources to, with destination port 0 → 1: whose packets to our port range are not the stack's
    SNAT_PEERS: "lb_snat_peers", 1 << 14, v 1, state;
    /// [`FragmentKey`](crate::fragment::FragmentKey) → [`Fragment`](crate::fragment::Fragment)
    FRAGMENTS: "lb_fragments", 1 << 14, v 1, config;
    /// [`FlowKey`](crate::flow::FlowKey) of what answers a connection that is none of ours →
    /// [`units`](crate::flow::units) of its last packet: who else has a tuple
    FOREIGN: "lb_foreign", 1 << 16, v 1, state;
    /// number of what is limited ([`kind`](crate::refusal::kind)) →
    /// [`Refusals`](crate::refusal::Refusals), one a CPU
    REFUSALS: "lb_refusals", 2, v 1, config;
    /// one entry, [`PortRanges`](crate::flow::PortRanges)
    PORTS: "lb_ports", 1, v 1, config;
    /// one entry, [`HashKey`](crate::hash::HashKey): kept, so that flows are placed alike after a
    /// restart without the API server
    HASH_KEY: "lb_hash_key", 1, v 1, state;
    /// hash of a backend's address / 64 → the bits of 64 hashes (see [`known`](crate::known));
    /// mmapable
    KNOWN_BACKENDS: "lb_known_backs", crate::known::WORDS, v 1, config;
    /// [`Oversized`](crate::fragment::Oversized), a ring
    OVERSIZED: "lb_oversized", crate::fragment::OVERSIZED, v 1, config;
    /// room that a program needs beside its stack, one a CPU
    SCRATCH: "lb_scratch", 1, v 1, scratch;
    /// interface index → [`Dev`](crate::dev::Dev)
    DEVS: "lb_devs", 1 << 10, v 1, config;
    /// interface index, its low bits → [`XdpDev`](crate::xdp_dev::XdpDev); mmapable
    XDP_DEVS: "lb_xdp_devs", 1 << 10, v 1, config;
    /// [`Reason`](crate::Reason) → count, one a CPU
    COUNTERS: "lb_counters", crate::reason::REASONS, v 1, state;
    /// pool index → [`PoolStats`](crate::stats::PoolStats), one a CPU
    POOL_STATS: "lb_pool_stats", 1 << 16, v 1, state, was "lb_svc_stats";
    /// pool index → [`PoolTcp`](crate::tcp::PoolTcp); mmapable
    POOL_TCP: "lb_pool_tcp", 1 << 16, v 1, state;
    /// one entry, [`Filter`](crate::trace::Filter)
    TRACE_FILTER: "lb_tr_filter", 1, v 1, scratch;
    /// [`VipKey`](crate::frontend::VipKey) of scope 0 → see [`whole`](crate::trace::whole): the
    /// frontends that `trace` shows
    TRACE_VIPS: "lb_tr_vips", 1 << 12, v 1, scratch;
    /// prefix + [`Addr`](crate::Addr) → 1: the clients that `trace` shows
    TRACE_CLIENTS: "lb_tr_clients", 1 << 12, v 1, scratch;
    /// prefix + [`Addr`](crate::Addr) → 1: the backends that `trace` shows
    TRACE_BACKENDS: "lb_tr_backends", 1 << 12, v 1, scratch;
    /// cookie of a network namespace → 1: whose sockets `trace` shows
    TRACE_NETNS: "lb_tr_netns", 1 << 12, v 1, scratch;
    /// what runs now, for `trace`, one a CPU: packets, sockets
    TRACE_RUNS: "lb_tr_runs", 2, v 1, scratch;
    /// one entry, [`Rate`](crate::trace::Rate)
    TRACE_RATE: "lb_tr_rate", 1, v 1, scratch;
    /// [`Decision`](crate::trace::Decision)s; its capacity is bytes, a power of two
    TRACE_RING: "lb_tr_ring", crate::trace::RING, v 1, scratch;
    /// one-entry array of maps: an update waits for every running program (the RCU barrier)
    BARRIER: "lb_barrier", 1, v 1, config;
}

const _: () = {
    let mut i = 0;
    while i < ALL.len() {
        let n = ALL[i].name.as_bytes();
        assert!(n.len() <= 15 && n[0] == b'l' && n[1] == b'b' && n[2] == b'_');
        i += 1;
    }
};

impl MapSpec {
    /// Is it rebuilt from the cluster?
    #[must_use]
    pub const fn is_config(&self) -> bool {
        matches!(self.lifetime, Lifetime::Config)
    }

    /// Does its content outlive an upgrade?
    #[must_use]
    pub const fn is_state(&self) -> bool {
        matches!(self.lifetime, Lifetime::State)
    }
}

#[cfg(any(feature = "user", test))]
impl MapSpec {
    /// The map of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|spec| spec.name == name)
    }

    /// The map that had this name before it got its own.
    #[must_use]
    pub fn formerly(name: &str) -> Option<&'static Self> {
        ALL.iter()
            .find(|spec| !name.is_empty() && spec.former == name)
    }

    /// The name of its pin: the map's name, with `_vN` behind it from the second layout on.
    #[must_use]
    pub fn pin_name(&self) -> String {
        if self.version == 1 {
            self.name.to_owned()
        } else {
            format!("{}_v{}", self.name, self.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_name_belongs_to_one_map_and_is_no_current_name() {
        for spec in ALL.iter().filter(|spec| !spec.former.is_empty()) {
            assert_eq!(MapSpec::formerly(spec.former), Some(spec));
            assert_eq!(MapSpec::named(spec.former), None, "{}", spec.former);
            assert_eq!(
                spec.version, 1,
                "{} was renamed in its first layout",
                spec.name
            );
        }
        assert_eq!(MapSpec::formerly(""), None);
        assert_eq!(MapSpec::formerly("lb_slots"), None);
    }
}

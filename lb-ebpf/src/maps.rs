//! The maps as the programs see them; names, capacities and layouts are lb-common's. `lb_scratch`
//! is in `scratch.rs`, `lb_tr_runs` in `trace/mod.rs`.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use lb_common::{
    Addr,
    affinity::{Affinity, AffinityKey, AffinityShare},
    backend::Backend,
    dev::Dev,
    flow::{Flow, FlowKey, PortRanges},
    fragment::{Fragment, FragmentKey, Oversized},
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    handshakes::Handshakes,
    hash::HashKey,
    maps::{self, MMAPABLE},
    member::MemberKey,
    pool::Pool,
    refusal::Refusals,
    slot::Slot,
    sock::{Agent, SockRecord, UdpPeer, UdpPeerKey},
    srcrange::SourceRange,
    stats::PoolStats,
    tcp::PoolTcp,
    trace::{Decision, Filter, Rate},
    xdp_dev::XdpDev,
};

#[btf_map(name = "lb_frontends")]
pub static FRONTENDS: HashMap<VipKey, FrontendValue, { maps::FRONTENDS.capacity as usize }> =
    HashMap::new();

#[btf_map(name = "lb_nodeports")]
pub static NODEPORTS: HashMap<NodePortKey, FrontendValue, { maps::NODEPORTS.capacity as usize }> =
    HashMap::new();

#[btf_map(name = "lb_nodeaddrs")]
pub static NODEADDRS: HashMap<Addr, NodeAddr, { maps::NODEADDRS.capacity as usize }> =
    HashMap::new();

#[btf_map(name = "lb_known")]
pub static KNOWN: Array<u64, { maps::KNOWN.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_pools")]
pub static POOLS: Array<Pool, { maps::POOLS.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_slots")]
pub static SLOTS: Array<Slot, { maps::SLOTS.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_backends")]
pub static BACKENDS: Array<Backend, { maps::BACKENDS.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_members")]
pub static MEMBERS: HashMap<
    MemberKey,
    u32,
    { maps::MEMBERS.capacity as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

#[btf_map(name = "lb_sched")]
pub static SCHED: Array<u64, { maps::SCHED.capacity as usize }> = Array::new();

#[btf_map(name = "lb_active")]
pub static ACTIVE: Array<u64, { maps::ACTIVE.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_flow_counts")]
pub static FLOW_COUNTS: Array<u64, { maps::FLOW_COUNTS.capacity as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "lb_handshakes")]
pub static HANDSHAKES: Array<Handshakes, { maps::HANDSHAKES.capacity as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "lb_sk")]
pub static SK: SkStorage<SockRecord> = SkStorage::new();

#[btf_map(name = "lb_udp_peers")]
pub static UDP_PEERS: LruHashMap<UdpPeerKey, UdpPeer, { maps::UDP_PEERS.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_agent")]
pub static AGENT: Array<Agent, { maps::AGENT.capacity as usize }> = Array::new();

#[btf_map(name = "lb_netns")]
pub static NETNS: HashMap<u64, u32, { maps::NETNS.capacity as usize }> = HashMap::new();

#[btf_map(name = "lb_affinity")]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity, { maps::AFFINITY.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_aff_shares")]
pub static AFFINITY_SHARES: Array<
    AffinityShare,
    { maps::AFFINITY_SHARES.capacity as usize },
    MMAPABLE,
> = Array::new();

#[btf_map(name = "lb_srcranges")]
pub static SRCRANGES: LpmTrie<SourceRange, u8, { maps::SRCRANGES.capacity as usize }> =
    LpmTrie::new();

#[btf_map(name = "lb_flows")]
pub static FLOWS: LruHashMap<FlowKey, Flow, { maps::FLOWS.capacity as usize }> = LruHashMap::new();

#[btf_map(name = "lb_newflows")]
pub static NEWFLOWS: LruHashMap<FlowKey, Flow, { maps::NEWFLOWS.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_snat_peers")]
pub static SNAT_PEERS: LruHashMap<FlowKey, u32, { maps::SNAT_PEERS.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_fragments")]
pub static FRAGMENTS: LruHashMap<FragmentKey, Fragment, { maps::FRAGMENTS.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_foreign")]
pub static FOREIGN: LruHashMap<FlowKey, u32, { maps::FOREIGN.capacity as usize }> =
    LruHashMap::new();

#[btf_map(name = "lb_refusals")]
pub static REFUSALS: PerCpuArray<Refusals, { maps::REFUSALS.capacity as usize }> =
    PerCpuArray::new();

#[btf_map(name = "lb_ports")]
pub static PORTS: Array<PortRanges, { maps::PORTS.capacity as usize }> = Array::new();

#[btf_map(name = "lb_hash_key")]
pub static HASH_KEY: Array<HashKey, { maps::HASH_KEY.capacity as usize }> = Array::new();

#[btf_map(name = "lb_known_backs")]
pub static KNOWN_BACKENDS: Array<u64, { maps::KNOWN_BACKENDS.capacity as usize }, MMAPABLE> =
    Array::new();

#[btf_map(name = "lb_oversized")]
pub static OVERSIZED: Array<Oversized, { maps::OVERSIZED.capacity as usize }> = Array::new();

#[btf_map(name = "lb_devs")]
pub static DEVS: HashMap<u32, Dev, { maps::DEVS.capacity as usize }> = HashMap::new();

#[btf_map(name = "lb_xdp_devs")]
pub static XDP_DEVS: Array<XdpDev, { maps::XDP_DEVS.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_counters")]
pub static COUNTERS: PerCpuArray<u64, { maps::COUNTERS.capacity as usize }> = PerCpuArray::new();

#[btf_map(name = "lb_pool_stats")]
pub static POOL_STATS: PerCpuArray<PoolStats, { maps::POOL_STATS.capacity as usize }> =
    PerCpuArray::new();

#[btf_map(name = "lb_pool_tcp")]
pub static POOL_TCP: Array<PoolTcp, { maps::POOL_TCP.capacity as usize }, MMAPABLE> = Array::new();

#[btf_map(name = "lb_tr_filter")]
pub static TRACE_FILTER: Array<Filter, { maps::TRACE_FILTER.capacity as usize }> = Array::new();

#[btf_map(name = "lb_tr_vips")]
pub static TRACE_VIPS: HashMap<
    VipKey,
    u32,
    { maps::TRACE_VIPS.capacity as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

#[btf_map(name = "lb_tr_clients")]
pub static TRACE_CLIENTS: LpmTrie<Addr, u32, { maps::TRACE_CLIENTS.capacity as usize }> =
    LpmTrie::new();

#[btf_map(name = "lb_tr_backends")]
pub static TRACE_BACKENDS: LpmTrie<Addr, u32, { maps::TRACE_BACKENDS.capacity as usize }> =
    LpmTrie::new();

#[btf_map(name = "lb_tr_netns")]
pub static TRACE_NETNS: HashMap<
    u64,
    u32,
    { maps::TRACE_NETNS.capacity as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

#[btf_map(name = "lb_tr_rate")]
pub static TRACE_RATE: Array<Rate, { maps::TRACE_RATE.capacity as usize }> = Array::new();

#[btf_map(name = "lb_tr_ring")]
pub static TRACE_RING: RingBuf<Decision, { maps::TRACE_RING.capacity as usize }> = RingBuf::new();

/// Never read by a program: an update of it is the agent's RCU barrier.
#[btf_map(name = "lb_barrier")]
pub static BARRIER: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

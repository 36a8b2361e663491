//! Which addresses and ports lead to a Service, and from where. Holds the allow-list of external
//! IPs, and the rule that traffic from inside reaches the whole cluster, whatever the external
//! policy says.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    Addr, Proto,
    frontend::{self, NodePortKey, VipKey, scope},
};

use super::{
    PlanConfig,
    desired::{Frontend, FrontendKey, IpFamily, ServicePlan, TrafficPolicy},
};
use crate::model::{Policy, Service, ServicePort, ServiceType};

/// A frontend, and the endpoints that serve it.
#[derive(Clone, Copy, Debug)]
pub struct DesiredFrontend {
    /// What a client names.
    pub key: FrontendKey,
    /// See [`frontend`].
    pub flags: u32,
    /// Which endpoints.
    pub policy: TrafficPolicy,
}

/// The addresses of one Service, by family; a family without a cluster IP is not served
/// (kube-proxy's rule).
pub struct Addresses {
    /// One a cluster IP.
    pub families: Vec<Family>,
}

/// The addresses of one family.
pub struct Family {
    cluster: IpAddr,
    /// The cluster IP is assigned to a device of this machine.
    is_own: bool,
    /// Ports of it that a process of this machine serves there (node-local DNS): they are its own.
    listening: Vec<(Proto, u16)>,
    /// Cluster IPs are routed to `lb0`.
    lb0: bool,
    external: Vec<IpAddr>,
    ingress: Vec<IpAddr>,
    /// Those of `external` and `ingress` whose ports can be routed to `lb0`.
    routed: Vec<IpAddr>,
    /// Those that cannot, since they are the machine's own.
    pub own: Vec<IpAddr>,
}

impl Addresses {
    /// Sorts the addresses; what the allow-list refuses is a problem.
    pub fn of(service: &Service, config: &PlanConfig, problems: &mut Vec<String>) -> Self {
        let mut allowed = Vec::new();
        for ip in &service.external_ips {
            if config.external_ips.iter().any(|net| net.contains(*ip)) {
                allowed.push(*ip);
            } else {
                problems.push(format!(
                    "externalIPs: {ip} is in no allowed network: skipped (start the agent with --external-ip-cidrs CIDR)"
                ));
            }
        }
        let ingress: &[IpAddr] = match service.kind {
            ServiceType::LoadBalancer => &service.ingress_ips,
            ServiceType::ClusterIp | ServiceType::NodePort => &[],
        };
        let of_family = |ips: &[IpAddr], of: &IpAddr| -> Vec<IpAddr> {
            let same = ips.iter().filter(|ip| IpFamily::of(ip) == IpFamily::of(of));
            same.copied().collect()
        };
        let of_no_family = |ip: &&IpAddr| {
            let mut cluster = service.cluster_ips.iter();
            cluster.all(|c| c.is_ipv6() != ip.is_ipv6())
        };
        let fields = [
            ("externalIPs", &allowed[..]),
            ("status.loadBalancer.ingress", ingress),
        ];
        for (field, ips) in fields {
            let skipped = ips.iter().filter(of_no_family).map(|ip| {
                format!(
                    "{field}: {ip} is of a family of which the Service has no cluster IP: skipped"
                )
            });
            problems.extend(skipped);
        }
        // The kernel delivers to the machine's own addresses before it looks at any routing rule.
        let own = &config.machine.own;
        let outer = ingress.iter().chain(&allowed);
        let (here, elsewhere): (Vec<IpAddr>, Vec<IpAddr>) = outer.partition(|ip| own.contains(ip));
        let routed = if config.lb0 { elsewhere } else { Vec::new() };
        let families = service.cluster_ips.iter().map(|cluster| Family {
            cluster: *cluster,
            is_own: own.contains(cluster),
            listening: config
                .machine
                .listening
                .iter()
                .filter(|(_, addr, _)| addr == cluster)
                .map(|(proto, _, port)| (*proto, *port))
                .collect(),
            lb0: config.lb0,
            external: of_family(&allowed, cluster),
            ingress: of_family(ingress, cluster),
            routed: of_family(&routed, cluster),
            own: of_family(&here, cluster),
        });
        Self {
            families: families.collect(),
        }
    }

    /// The marks of the VIPs. Only cluster IPs are routed to `lb0` as a whole, with their unknown
    /// ports refused to sockets: other programs may serve other ports of the remaining addresses,
    /// and of a cluster IP that one of them has.
    pub fn marks(&self, frontends: &mut Vec<Frontend>) {
        for family in &self.families {
            let is_whole = family.listening.is_empty();
            let cluster = is_whole.then_some((family.cluster, frontend::CLUSTER_IP));
            let cluster = cluster.into_iter();
            let ingress = family
                .ingress
                .iter()
                .map(|ip| (*ip, frontend::LOAD_BALANCER));
            let external = family.external.iter();
            let external = external.map(|ip| (*ip, frontend::EXTERNAL_IP));
            for (ip, kind) in cluster.chain(ingress).chain(external) {
                for scope in [scope::INTERNAL, scope::EXTERNAL] {
                    let key = FrontendKey::Address(VipKey {
                        addr: ip.into(),
                        port: 0,
                        proto: 0,
                        scope,
                    });
                    let routed = kind == frontend::CLUSTER_IP && family.lb0 && !family.is_own;
                    let routed = if routed { frontend::ROUTED } else { 0 };
                    let flags = frontend::VIP_MARK | kind | routed;
                    if let Some(known) = frontends.iter_mut().find(|f| f.key == key) {
                        known.flags |= flags;
                    } else {
                        frontends.push(Frontend {
                            key,
                            pool: None,
                            ping_pool: None,
                            flags,
                        });
                    }
                }
            }
        }
    }
}

/// Gives each mark of a VIP, as seen from inside, the pool that decides whether the address answers
/// ping: the first one of its ports that has members, else the first one.
pub fn set_ping_pools(plan: &mut ServicePlan) {
    let mut first: BTreeMap<(Addr, u8), usize> = BTreeMap::new();
    for front in &plan.frontends {
        if let (FrontendKey::Address(key), Some(pool)) = (front.key, front.pool) {
            let known = first.entry((key.addr, key.scope)).or_insert(pool);
            let empty = |n: usize| plan.pools.get(n).is_none_or(|p| p.members.is_empty());
            if empty(*known) && !empty(pool) {
                *known = pool;
            }
        }
    }
    for front in &mut plan.frontends {
        if let (FrontendKey::Address(key), None) = (front.key, front.pool) {
            if key.scope == scope::EXTERNAL {
                continue;
            }
            front.ping_pool = first.get(&(key.addr, key.scope)).copied();
        }
    }
}

impl Family {
    /// The family of its addresses.
    #[must_use]
    pub fn ip_family(&self) -> IpFamily {
        IpFamily::of(&self.cluster)
    }

    /// Every way in to `port`. From inside, all but the cluster IP reach the whole cluster; from
    /// outside, `externalTrafficPolicy` decides. An address in two roles is one entry with both
    /// flags; the first role decides.
    #[must_use]
    pub fn frontends(&self, service: &Service, port: &ServicePort) -> Vec<DesiredFrontend> {
        let internal = traffic_policy(service.internal_policy);
        let external = traffic_policy(service.external_policy);
        // Pods of other nodes come in from outside, and are inside all the same.
        let from_outside = match external {
            TrafficPolicy::Cluster => 0,
            TrafficPolicy::Local => frontend::LOCAL_FROM_OUTSIDE,
        };
        let mut all: Vec<DesiredFrontend> = Vec::new();
        let mut add = |key: FrontendKey, flags, policy| {
            if let Some(known) = all.iter_mut().find(|w| w.key == key) {
                known.flags |= flags;
            } else {
                all.push(DesiredFrontend { key, flags, policy });
            }
        };
        let address = |ip: IpAddr, scope| {
            FrontendKey::Address(VipKey {
                addr: ip.into(),
                port: port.port.get(),
                proto: port.proto.number(),
                scope,
            })
        };
        let is_left = self.listening.contains(&(port.proto, port.port.get()));
        for scope in [scope::INTERNAL, scope::EXTERNAL] {
            if !is_left {
                add(address(self.cluster, scope), frontend::CLUSTER_IP, internal);
            }
        }
        // Source ranges and SCTP work on packets only, so both need `lb0`.
        let judged = !self.source_ranges(service).is_empty();
        let sctp = port.proto == Proto::Sctp;
        let outer = [
            (&self.ingress, frontend::LOAD_BALANCER),
            (&self.external, frontend::EXTERNAL_IP),
        ];
        for (ips, kind) in outer {
            for ip in ips {
                let by_packets = sctp || (judged && kind == frontend::LOAD_BALANCER);
                let routed = by_packets && self.routed.contains(ip);
                let flags = kind | if routed { frontend::ROUTED } else { 0 };
                add(address(*ip, scope::INTERNAL), flags, TrafficPolicy::Cluster);
                add(
                    address(*ip, scope::EXTERNAL),
                    flags | from_outside,
                    external,
                );
            }
        }
        if let Some(number) = port.node_port
            && service.kind != ServiceType::ClusterIp
        {
            let family = Addr::from(self.cluster);
            let key = |scope| {
                let proto = port.proto.number();
                FrontendKey::NodePort(NodePortKey::new(&family, number.get(), proto, scope))
            };
            add(
                key(scope::INTERNAL),
                frontend::NODE_PORT,
                TrafficPolicy::Cluster,
            );
            let flags = frontend::NODE_PORT | from_outside;
            add(key(scope::EXTERNAL), flags, external);
        }
        all
    }

    /// The networks that may use the load-balancer IPs of this family. Empty admits every client,
    /// also when all ranges are of the other family (kube-proxy's rule).
    #[must_use]
    pub fn source_ranges(&self, service: &Service) -> Box<[(Addr, u8)]> {
        if self.ingress.is_empty() {
            return Box::default();
        }
        let ours = service.source_ranges.iter();
        let mut ranges: Vec<(Addr, u8)> = ours
            .filter(|range| IpFamily::of(&range.net) == self.ip_family())
            .map(|range| range.bits())
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges.into()
    }
}

fn traffic_policy(policy: Policy) -> TrafficPolicy {
    match policy {
        Policy::Cluster => TrafficPolicy::Cluster,
        Policy::Local => TrafficPolicy::Local,
    }
}

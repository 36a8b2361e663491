//! Which addresses and ports lead to a Service, and from where. Owns the allow-list of external IPs and the rule that
//! traffic from inside reaches the whole cluster whatever the external policy.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    Addr, Proto,
    frontend::{self, NodePortKey, VipKey, scope},
};

use crate::model::{Policy, Service, ServicePort, ServiceType};

use super::{
    PlanConfig,
    desired::{FrontKey, Frontend, Reach, ServicePlan},
};

/// A frontend and the endpoints it wants.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What a client names.
    pub key: FrontKey,
    /// See [`frontend`].
    pub flags: u32,
    /// Which endpoints.
    pub reach: Reach,
}

/// The addresses of one Service, by family; a family without a cluster IP is not served (kube-proxy's rule).
pub struct Addresses {
    /// One a cluster IP.
    pub families: Vec<Family>,
}

/// The addresses of one family.
pub struct Family {
    cluster: IpAddr,
    /// The cluster IP is on a device of this machine (a name server of the node's own): whoever listens there is meant.
    held: bool,
    /// Cluster IPs are routed to `lb0`.
    lb0: bool,
    external: Vec<IpAddr>,
    ingress: Vec<IpAddr>,
    /// Those of `external` and `ingress` whose ports can be led there.
    led: Vec<IpAddr>,
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
            let same = ips.iter().filter(|ip| ip.is_ipv6() == of.is_ipv6());
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
        // What is this machine's own is delivered before any rule is asked.
        let own = &config.machine.own;
        let outer = ingress.iter().chain(&allowed);
        let (here, elsewhere): (Vec<IpAddr>, Vec<IpAddr>) = outer.partition(|ip| own.contains(ip));
        let led = if config.lb0 { elsewhere } else { Vec::new() };
        let families = service.cluster_ips.iter().map(|cluster| Family {
            cluster: *cluster,
            held: own.contains(cluster),
            lb0: config.lb0,
            external: of_family(&allowed, cluster),
            ingress: of_family(ingress, cluster),
            led: of_family(&led, cluster),
            own: of_family(&here, cluster),
        });
        Self {
            families: families.collect(),
        }
    }

    /// The marks of the VIPs; cluster IPs alone are routed to `lb0` whole, and their unknown ports refused to sockets, since
    /// other things may be behind the others.
    pub fn marks(&self, frontends: &mut Vec<Frontend>) {
        for family in &self.families {
            let cluster = (!family.held).then_some((family.cluster, frontend::CLUSTER_IP));
            let cluster = cluster.into_iter();
            let ingress = family
                .ingress
                .iter()
                .map(|ip| (*ip, frontend::LOAD_BALANCER));
            let external = family.external.iter();
            let external = external.map(|ip| (*ip, frontend::EXTERNAL_IP));
            for (ip, kind) in cluster.chain(ingress).chain(external) {
                for scope in [scope::INTERNAL, scope::EXTERNAL] {
                    let key = FrontKey::Address(VipKey {
                        addr: ip.into(),
                        port: 0,
                        proto: 0,
                        scope,
                    });
                    let routed = kind == frontend::CLUSTER_IP && family.lb0;
                    let routed = if routed { frontend::ROUTED } else { 0 };
                    let flags = frontend::VIP_MARK | kind | routed;
                    if let Some(known) = frontends.iter_mut().find(|f| f.key == key) {
                        known.flags |= flags;
                    } else {
                        frontends.push(Frontend {
                            key,
                            pool: None,
                            asks: None,
                            flags,
                        });
                    }
                }
            }
        }
    }
}

/// Has each mark of a VIP, as seen from inside, ask the pool behind the first of its address's ports that has members, else behind the first.
pub fn ask(plan: &mut ServicePlan) {
    let mut first: BTreeMap<(Addr, u8), usize> = BTreeMap::new();
    for front in &plan.frontends {
        if let (FrontKey::Address(key), Some(pool)) = (front.key, front.pool) {
            let known = first.entry((key.addr, key.scope)).or_insert(pool);
            let empty = |n: usize| plan.pools.get(n).is_none_or(|p| p.members.is_empty());
            if empty(*known) && !empty(pool) {
                *known = pool;
            }
        }
    }
    for front in &mut plan.frontends {
        if let (FrontKey::Address(key), None) = (front.key, front.pool) {
            if key.scope == scope::EXTERNAL {
                continue;
            }
            front.asks = first.get(&(key.addr, key.scope)).copied();
        }
    }
}

impl Family {
    /// IPv6?
    #[must_use]
    pub fn v6(&self) -> bool {
        self.cluster.is_ipv6()
    }

    /// Every way in to `port`. From inside, all but the cluster IP reach the whole cluster; from outside,
    /// `externalTrafficPolicy` decides. An address in two roles is one entry with both flags; the first role decides.
    #[must_use]
    pub fn frontends(&self, service: &Service, port: &ServicePort) -> Vec<Wanted> {
        let internal = reach(service.internal_policy);
        let external = reach(service.external_policy);
        let mut all: Vec<Wanted> = Vec::new();
        let mut add = |key: FrontKey, flags, reach| {
            if let Some(known) = all.iter_mut().find(|w| w.key == key) {
                known.flags |= flags;
            } else {
                all.push(Wanted { key, flags, reach });
            }
        };
        let address = |ip: IpAddr, scope| {
            FrontKey::Address(VipKey {
                addr: ip.into(),
                port: port.port.get(),
                proto: port.proto.number(),
                scope,
            })
        };
        for scope in [scope::INTERNAL, scope::EXTERNAL] {
            if !self.held {
                add(address(self.cluster, scope), frontend::CLUSTER_IP, internal);
            }
        }
        // By their packets sources are judged, and SCTP is carried at all.
        let judged = !self.source_ranges(service).is_empty();
        let sctp = port.proto == Proto::Sctp;
        let outer = [
            (&self.ingress, frontend::LOAD_BALANCER),
            (&self.external, frontend::EXTERNAL_IP),
        ];
        for (ips, kind) in outer {
            for ip in ips {
                let by_packets = sctp || (judged && kind == frontend::LOAD_BALANCER);
                let led = by_packets && self.led.contains(ip);
                let flags = kind | if led { frontend::ROUTED } else { 0 };
                add(address(*ip, scope::INTERNAL), flags, Reach::Cluster);
                add(address(*ip, scope::EXTERNAL), flags, external);
            }
        }
        if let Some(number) = port.node_port
            && service.kind != ServiceType::ClusterIp
        {
            let family = Addr::from(self.cluster);
            let key = |scope| {
                let proto = port.proto.number();
                FrontKey::NodePort(NodePortKey::new(&family, number.get(), proto, scope))
            };
            add(key(scope::INTERNAL), frontend::NODE_PORT, Reach::Cluster);
            add(key(scope::EXTERNAL), frontend::NODE_PORT, external);
        }
        all
    }

    /// The networks that may use the load-balancer IPs of this family: empty admits everybody, also when all the ranges
    /// are of the other family (kube-proxy's rule).
    #[must_use]
    pub fn source_ranges(&self, service: &Service) -> Box<[(Addr, u8)]> {
        if self.ingress.is_empty() {
            return Box::default();
        }
        let ours = service.source_ranges.iter();
        let mut ranges: Vec<(Addr, u8)> = ours
            .filter(|range| range.net.is_ipv6() == self.v6())
            .map(|range| {
                let bits = if range.net.is_ipv4() { 96 } else { 0 };
                (range.net.into(), range.prefix + bits)
            })
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges.into()
    }
}

fn reach(policy: Policy) -> Reach {
    match policy {
        Policy::Cluster => Reach::Cluster,
        Policy::Local => Reach::Local,
    }
}

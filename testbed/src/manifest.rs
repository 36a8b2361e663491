//! The manifests that tests hand to the agent: a Service with its EndpointSlices, and Nodes, as
//! people write them.

use std::fmt::Write as _;

use crate::{
    addr::Both,
    node::Node,
    pod::Pod,
    probe::{Family, Kind},
};

/// A Service of the namespace `default`, and its endpoints.
#[derive(Debug, Clone)]
pub struct Service {
    name: String,
    vip: Both,
    ports: Vec<Port>,
    ingress: Vec<Both>,
    affinity_secs: Option<u32>,
    endpoints: Vec<Endpoint>,
    /// More lines of `spec`, two spaces in.
    spec: String,
    annotations: Vec<(String, String)>,
    /// The pods that topology hints prefer, if there are hints.
    preferred: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "as in a manifest")]
struct Port {
    name: String,
    protocol: &'static str,
    port: u16,
    target: u16,
    node_port: Option<u16>,
}

/// No node has this name.
const NOWHERE: &str = "nowhere";

/// One pod behind a Service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// Its addresses.
    pub addr: Both,
    /// Where it runs.
    pub node: String,
    /// `conditions.ready`
    pub ready: bool,
    /// `conditions.serving`
    pub serving: bool,
    /// `conditions.terminating`
    pub terminating: bool,
}

impl Endpoint {
    /// A ready one.
    #[must_use]
    pub fn of(node: &Node, pod: &Pod) -> Self {
        Self {
            pod: pod.name().to_owned(),
            addr: pod.addr(),
            node: node.name().to_owned(),
            ready: true,
            serving: true,
            terminating: false,
        }
    }
}

impl Service {
    /// Without ports and endpoints yet; both families.
    #[must_use]
    pub fn new(name: &str, vip: Both) -> Self {
        Self {
            name: name.to_owned(),
            vip,
            ports: Vec::new(),
            ingress: Vec::new(),
            affinity_secs: None,
            endpoints: Vec::new(),
            spec: String::new(),
            annotations: Vec::new(),
            preferred: None,
        }
    }

    /// The same port of TCP and UDP, to the same target port.
    #[must_use]
    pub fn port(self, port: u16, target: u16) -> Self {
        self.one_port(Kind::Tcp, port, target, None)
            .one_port(Kind::Udp, port, target, None)
    }

    /// [`Service::port`] with a node port.
    #[must_use]
    pub fn node_port(self, port: u16, target: u16, node_port: u16) -> Self {
        let node_port = Some(node_port);
        self.one_port(Kind::Tcp, port, target, node_port).one_port(
            Kind::Udp,
            port,
            target,
            node_port,
        )
    }

    /// One port of one protocol.
    #[must_use]
    pub fn one_port(mut self, kind: Kind, port: u16, target: u16, node_port: Option<u16>) -> Self {
        let protocol = match kind {
            Kind::Udp => "UDP",
            Kind::Sctp | Kind::SctpPackets => "SCTP",
            Kind::Tcp | Kind::Mptcp | Kind::Ping => "TCP",
        };
        let name = format!("{}-{port}", protocol.to_lowercase());
        self.ports.push(Port {
            name,
            protocol,
            port,
            target,
            node_port,
        });
        self
    }

    /// Ingress IPs of a load balancer, beside those of earlier calls.
    #[must_use]
    pub fn ingress(mut self, addr: Both) -> Self {
        self.ingress.push(addr);
        self
    }

    /// Session affinity by client IP.
    #[must_use]
    pub const fn affinity(mut self, secs: u32) -> Self {
        self.affinity_secs = Some(secs);
        self
    }

    /// One more line of `spec`.
    #[must_use]
    pub fn spec(mut self, line: &str) -> Self {
        self.spec.push_str("  ");
        self.spec.push_str(line);
        self.spec.push('\n');
        self
    }

    /// An annotation.
    #[must_use]
    pub fn annotate(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Every endpoint has a hint: these pods' names their own node, the others' a node that is
    /// nowhere.
    #[must_use]
    pub fn preferring(mut self, pods: &[&str]) -> Self {
        self.preferred = Some(pods.iter().map(|pod| (*pod).to_owned()).collect());
        self
    }

    /// Exactly these endpoints.
    #[must_use]
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.endpoints = endpoints.into_iter().collect();
        self
    }

    /// All pods of these nodes, ready.
    #[must_use]
    pub fn pods_of(self, nodes: &[&Node]) -> Self {
        let all = nodes
            .iter()
            .flat_map(|node| node.pods().iter().map(|pod| Endpoint::of(node, pod)));
        self.endpoints(all.collect::<Vec<_>>())
    }

    /// A file name for its manifest.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.yaml", self.name)
    }

    /// Its VIP.
    #[must_use]
    pub const fn vip(&self) -> Both {
        self.vip
    }

    /// The file's text: a Service and one EndpointSlice a family.
    #[must_use]
    pub fn yaml(&self) -> String {
        let mut text = self.service_yaml();
        for family in [Family::V4, Family::V6] {
            text.push_str("---\n");
            text.push_str(&self.slice_yaml(family));
        }
        text
    }

    fn service_yaml(&self) -> String {
        let Self {
            name,
            vip,
            ports,
            ingress,
            affinity_secs,
            endpoints: _,
            spec,
            annotations,
            preferred: _,
        } = self;
        let node_ports = ports.iter().any(|port| port.node_port.is_some());
        let kind = match (ingress.is_empty(), node_ports) {
            (false, _) => "LoadBalancer",
            (true, true) => "NodePort",
            (true, false) => "ClusterIP",
        };
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\n"
        );
        if !annotations.is_empty() {
            text.push_str("  annotations:\n");
            for (key, value) in annotations {
                add(&mut text, format_args!("    {key}: \"{value}\"\n"));
            }
        }
        add(
            &mut text,
            format_args!(
                "spec:\n  type: {kind}\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  \
                 ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]\n{spec}",
                v4 = vip.v4,
                v6 = vip.v6
            ),
        );
        if let Some(secs) = affinity_secs {
            add(
                &mut text,
                format_args!(
                    "  sessionAffinity: ClientIP\n  sessionAffinityConfig:\n    clientIP:\n      timeoutSeconds: {secs}\n"
                ),
            );
        }
        text.push_str("  ports:\n");
        for Port {
            name,
            protocol,
            port,
            target,
            node_port,
        } in ports
        {
            add(
                &mut text,
                format_args!(
                    "  - name: {name}\n    protocol: {protocol}\n    port: {port}\n    targetPort: {target}\n"
                ),
            );
            if let Some(node_port) = node_port {
                add(&mut text, format_args!("    nodePort: {node_port}\n"));
            }
        }
        if !ingress.is_empty() {
            text.push_str("status:\n  loadBalancer:\n    ingress:\n");
        }
        for Both { v4, v6 } in ingress {
            add(
                &mut text,
                format_args!("    - ip: {v4}\n    - ip: \"{v6}\"\n"),
            );
        }
        text
    }

    fn slice_yaml(&self, family: Family) -> String {
        let (suffix, address_type) = match family {
            Family::V4 => ("v4", "IPv4"),
            Family::V6 => ("v6", "IPv6"),
        };
        let mut text = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{suffix}\n  \
             namespace: default\n  labels:\n    kubernetes.io/service-name: {name}\naddressType: {address_type}\nports:\n",
            name = self.name
        );
        for Port {
            name,
            protocol,
            target,
            ..
        } in &self.ports
        {
            add(
                &mut text,
                format_args!("- name: {name}\n  protocol: {protocol}\n  port: {target}\n"),
            );
        }
        if self.endpoints.is_empty() {
            text.push_str("endpoints: []\n");
            return text;
        }
        text.push_str("endpoints:\n");
        for Endpoint {
            pod,
            addr,
            node,
            ready,
            serving,
            terminating,
        } in &self.endpoints
        {
            add(
                &mut text,
                format_args!(
                    "- addresses: [\"{}\"]\n  nodeName: {node}\n  \
                     conditions: {{ready: {ready}, serving: {serving}, terminating: {terminating}}}\n  \
                     targetRef: {{kind: Pod, namespace: default, name: {pod}}}\n",
                    addr.ip(family)
                ),
            );
            if let Some(preferred) = &self.preferred {
                let node = if preferred.contains(pod) {
                    node
                } else {
                    NOWHERE
                };
                add(
                    &mut text,
                    format_args!("  hints: {{forNodes: [{{name: {node}}}]}}\n"),
                );
            }
        }
        text
    }
}

/// A Node object.
#[must_use]
pub fn node(node: &Node) -> String {
    let (Both { v4, v6 }, name) = (node.addr(), node.name());
    let net = crate::addr::pod(node.number(), 0);
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\nspec:\n  podCIDRs: [{}/24, \"{}/64\"]\nstatus:\n  \
         addresses:\n  - {{type: InternalIP, address: {v4}}}\n  - {{type: InternalIP, address: \"{v6}\"}}\n",
        net.v4, net.v6
    )
}

fn add(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

    use super::*;
    use crate::addr;

    #[test]
    fn manifests_are_what_kubernetes_reads() {
        let text = Service::new("web", addr::vip(10))
            .node_port(80, 8080, 30080)
            .ingress(addr::lb(1))
            .affinity(10)
            .annotate("lb-agent.io/scheduler", "rr")
            .spec("externalTrafficPolicy: Local")
            .endpoints([Endpoint {
                pod: "one".into(),
                addr: addr::pod(1, 2),
                node: "node-1".into(),
                ready: true,
                serving: true,
                terminating: false,
            }])
            .yaml();
        let parts: Vec<&str> = text.split("---\n").collect();
        let service: core::Service = serde_saphyr::from_str(parts[0]).unwrap();
        let spec = service.spec.unwrap();
        assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
        assert_eq!(spec.external_traffic_policy.as_deref(), Some("Local"));
        assert_eq!(spec.ports.unwrap()[1].node_port, Some(30080));
        assert_eq!(service.metadata.annotations.unwrap().len(), 1);
        for part in &parts[1..] {
            let slice: discovery::EndpointSlice = serde_saphyr::from_str(part).unwrap();
            let endpoint = &slice.endpoints.unwrap()[0];
            assert_eq!(endpoint.node_name.as_deref(), Some("node-1"));
            assert_eq!(endpoint.conditions.as_ref().unwrap().ready, Some(true));
        }
    }
}

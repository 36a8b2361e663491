//! The manifests of Services of [`super::world`].

use std::fmt::Write as _;

use super::world::{Service, UDP};

fn protocol(number: u8) -> &'static str {
    if number == UDP { "UDP" } else { "TCP" }
}

/// The Service and all its slices.
#[must_use]
pub fn whole(service: &Service) -> String {
    let mut text = head(service);
    for n in 0..service.slices.len() {
        text.push_str("---\n");
        text.push_str(&slice(service, n));
    }
    text
}

/// The Service alone.
#[must_use]
pub fn head(service: &Service) -> String {
    let kind = match service.node_port {
        Some(_) => "NodePort",
        None => "ClusterIP",
    };
    let (name, vip) = (service.name(), service.vip());
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: {kind}\n  clusterIP: {vip}\n  clusterIPs: [{vip}]\n  ports:\n"
    );
    for (n, port) in service.ports.iter().enumerate() {
        let node_port = match (service.node_port, n) {
            (Some(number), 0) => format!(", nodePort: {number}"),
            _ => String::new(),
        };
        let (name, number, protocol) = (port.name, port.number, protocol(port.proto));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: {name}, port: {number}, protocol: {protocol}{node_port}}}"
        );
    }
    text
}

/// One slice.
#[must_use]
pub fn slice(service: &Service, n: usize) -> String {
    let (name, of) = (service.slice_name(n), service.name());
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: {of}}}}}\naddressType: IPv4\nports:\n"
    );
    for port in service.ports {
        let (name, number, protocol) = (port.name, port.target, protocol(port.proto));
        let _ = writeln!(
            text,
            "- {{name: {name}, port: {number}, protocol: {protocol}}}"
        );
    }
    if service.slices[n].is_empty() {
        text.push_str("endpoints: []\n");
        return text;
    }
    text.push_str("endpoints:\n");
    for e in &service.slices[n] {
        let conditions = if e.draining {
            ", conditions: {ready: false, serving: true, terminating: true}"
        } else {
            ""
        };
        let _ = writeln!(text, "- {{addresses: [{}]{conditions}}}", e.addr);
    }
    text
}

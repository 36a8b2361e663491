//! ClusterIPs and node ports out of a small pool: what one Service leaves, the next one gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::{addr::Both, probe::Family};

use crate::plan::{Svc, Type};

/// Of four plans with three Services each and as many shadows, 24 stand at a time.
const POOL: u8 = 28;
/// ClusterIPs are numbered from here on: within what the API server gives to nobody by itself
/// while there is more (KEP-3070), as are the node ports.
const FIRST_IP: u8 = 16;
/// Node ports, two a Service.
const FIRST_PORT: u16 = 30_000;
/// The next Service gets one of so many that were left last.
const FRESHEST: usize = 6;

/// What one Service has of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given(u8);

impl Given {
    fn cluster_ip(self) -> Both {
        let n = FIRST_IP + self.0;
        Both {
            v4: Ipv4Addr::new(10, 96, 0, n),
            v6: Ipv6Addr::new(0xfd66, 0x96, 0, 0, 0, 0, 0, n.into()),
        }
    }

    fn node_port(self, position: usize) -> u16 {
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        FIRST_PORT + u16::from(self.0) * 2 + position
    }

    /// Writes them into a Service's object.
    pub fn write(self, svc: &Svc, service: &mut Value) {
        if svc.kind == Type::Headless {
            return;
        }
        let ip = |family: &Family| self.cluster_ip().ip(*family);
        let ips: Vec<IpAddr> = svc.families.iter().map(ip).collect();
        let spec = &mut service["spec"];
        spec["clusterIP"] = json!(ips.first());
        spec["clusterIPs"] = json!(ips);
        if svc.kind == Type::ClusterIp || svc.kind == Type::LoadBalancer && svc.no_node_ports {
            return;
        }
        let ports = spec["ports"].as_array_mut().into_iter().flatten();
        for (position, port) in ports.enumerate() {
            port["nodePort"] = json!(self.node_port(position));
        }
    }
}

/// What nobody has, last left last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(Vec<Given>);

impl Default for Numbers {
    fn default() -> Self {
        Self((0..POOL).rev().map(Given).collect())
    }
}

impl Numbers {
    /// One of the last left; `choice` says which.
    pub fn take(&mut self, choice: u64) -> Result<Given> {
        let among = self.0.len().min(FRESHEST);
        let back = usize::try_from(choice % 1024).unwrap_or(0) % among.max(1);
        let index = self.0.len().checked_sub(1 + back);
        let index = index.context("more Services stand than there are numbers")?;
        Ok(self.0.remove(index))
    }

    /// Left by its Service.
    pub fn leave(&mut self, given: Given) {
        self.0.push(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_taken_again_and_nothing_twice() -> Result<()> {
        let mut numbers = Numbers::default();
        let mut taken = Vec::new();
        for choice in 0..u64::from(POOL) {
            taken.push(numbers.take(choice)?);
        }
        assert!(numbers.take(0).is_err());
        let left = taken[3];
        numbers.leave(left);
        assert_eq!(numbers.take(7)?, left);
        taken.sort_by_key(|given| given.0);
        taken.dedup();
        assert_eq!(taken.len(), usize::from(POOL));
        Ok(())
    }
}

//! A cluster of its own for tests: a segment, the control plane as a machine on it, and nodes that
//! it knows.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anyhow::Result;
use serde_json::Value;

use super::{Client, ControlPlane, Pods, etcd};
use crate::{
    addr::{self, Both},
    lan::{self, Lan, Offloads},
    node::{Node, PodNetwork},
    sandbox::Sandbox,
};

/// The control plane's number among the machines that are no nodes.
const CONTROL_PLANE: u8 = 1;

/// The one cluster that the tests of a program share while any of them runs; none is left when the
/// last is done.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

/// Goes with this value.
#[derive(Debug)]
pub struct Cluster {
    control_plane: ControlPlane,
    machine: lan::Client,
    lan: Lan,
}

impl Cluster {
    /// A segment with a ready control plane on it, whose pods a test writes.
    pub fn start() -> Result<Self> {
        Self::start_for(Pods::Written)
    }

    /// The same for pods of either kind.
    pub fn start_for(pods: Pods) -> Result<Self> {
        let lan = Lan::new(Offloads::LastHop)?;
        let machine = lan.client(CONTROL_PLANE)?;
        let control_plane = ControlPlane::start_for(machine.netns(), machine.addr.v4.into(), pods)?;
        Ok(Self {
            control_plane,
            machine,
            lan,
        })
    }

    /// The shared one, which no test may disturb: each has namespaces, node numbers and names of
    /// its own.
    pub fn shared() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// A node on the segment that the API server knows.
    pub fn node(&self, number: u8) -> Result<Node> {
        let node = self.unregistered_node(number)?;
        self.client().add_node(node.name(), &node.addr().ips())?;
        Ok(node)
    }

    /// A node on the segment that the API server does not know: its kubelet will tell.
    pub fn unregistered_node(&self, number: u8) -> Result<Node> {
        let node = Node::new(&self.lan, number, PodNetwork::Routed)?;
        let (pods, Both { v4, v6 }) = (addr::pod(number, 0), node.addr());
        // Pods reach the API server with their own addresses, and it them.
        self.machine.netns().ip(&format!(
            "route add {}/24 via {v4}\nroute add {}/64 via {v6}\n",
            pods.v4, pods.v6
        ))?;
        Ok(node)
    }

    /// A machine outside of the cluster; numbers from 2 on.
    pub fn outside(&self, number: u8) -> Result<lan::Client> {
        self.lan.client(number)
    }

    /// A pod of the node, in its namespace and in the API, with servers on this port of both
    /// protocols.
    pub fn pod(
        &self,
        namespace: &str,
        node: &mut Node,
        name: &str,
        app: &str,
        port: u16,
    ) -> Result<Both> {
        let on = node.name().to_owned();
        let pod = node.add_pod(name)?;
        pod.serve(port)?;
        let addr = pod.addr();
        let ips = addr.ips();
        let spec = super::objects::PodSpec {
            name,
            app,
            node: &on,
            ips: &ips,
        };
        self.client().add_pod(namespace, &spec)?;
        Ok(addr)
    }

    /// Where programs that talk to the API server run, outside of every node.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        self.machine.sandbox()
    }

    /// The control plane.
    #[must_use]
    pub const fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The control plane, to stop and start parts of it.
    pub fn control_plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// The control plane's own client.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.control_plane.client()
    }

    /// Puts objects into etcd behind the API server's back, by their keys there: as it stores them,
    /// many thousand a second.
    pub fn put_stored(&self, entries: &[(String, Value)]) -> Result<()> {
        self.machine.netns().block(|| etcd::put(entries))
    }

    /// A kubeconfig of the administrator.
    pub fn admin(&self) -> Result<std::path::PathBuf> {
        self.control_plane.kubeconfig("admin", super::ADMIN_TOKEN)
    }

    /// Where logs are.
    #[must_use]
    pub fn files(&self) -> &Path {
        self.control_plane.dir()
    }
}

//! A pod: a namespace behind a veth of its node, a cgroup below the node's, and echo servers in it.

use std::{io, ops::Deref};

use anyhow::Result;

use crate::{addr::Both, host::Host, probe::Kind};

/// Ends with this value.
#[derive(Debug)]
pub struct Pod {
    pub(crate) host: Host,
    pub(crate) name: String,
    pub(crate) addr: Both,
    pub(crate) device: String,
}

impl Deref for Pod {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Pod {
    /// The name, which its servers answer with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses.
    #[must_use]
    pub const fn addr(&self) -> Both {
        self.addr
    }

    /// The device on the node that leads to it.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Echo servers on this port of TCP and UDP, for both families, answering with the pod's name.
    pub fn serve(&self, port: u16) -> Result<()> {
        self.serve_as(port, Kind::Tcp)?;
        self.serve_as(port, Kind::Udp)?;
        Ok(())
    }

    /// Echo servers on this port of TCP and UDP, for both families, answering with another name.
    pub fn serve_named(&self, port: u16, name: &str) -> Result<()> {
        let at = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        self.listen(Kind::Tcp, at, name)?;
        self.listen(Kind::Udp, at, name)?;
        Ok(())
    }

    /// One echo server for both families, answering with the pod's name; its number for
    /// [`crate::probe::Probe::unlisten`].
    pub fn serve_as(&self, port: u16, kind: Kind) -> io::Result<u32> {
        self.listen(
            kind,
            std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
            &self.name,
        )
    }

    /// Where its programs run.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The host, to change it.
    pub fn host_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

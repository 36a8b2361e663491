//! Requests to rtnetlink that more than one room makes: the connection, and the lists of devices,
//! addresses and routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use futures::{TryStreamExt as _, channel::mpsc::UnboundedReceiver};
use nix::errno::Errno;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::NetlinkMessage,
    packet_route::{
        RouteNetlinkMessage,
        address::AddressMessage,
        link::LinkMessage,
        route::{RouteAddress, RouteMessage},
    },
    sys::SocketAddr,
};
use tokio::task::JoinHandle;

mod dump;

pub use dump::{dump, scan};

/// An open socket of rtnetlink, in the network namespace of the thread that opened it. It is closed
/// when this value is dropped.
#[derive(Debug)]
pub struct Connection {
    task: JoinHandle<()>,
    handle: Handle,
}

/// What the kernel announces to a [subscriber](Connection::subscribe).
pub type Announcements = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

impl Connection {
    /// Opens a socket for requests.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        let task = tokio::spawn(connection);
        Ok(Self { task, handle })
    }

    /// Opens a socket for requests that also receives what the kernel announces to the groups.
    pub fn subscribe(groups: &[MulticastGroup]) -> Result<(Self, Announcements)> {
        let (connection, handle, announcements) =
            rtnetlink::new_multicast_connection(groups).context("cannot open a netlink socket")?;
        let task = tokio::spawn(connection);
        Ok((Self { task, handle }, announcements))
    }

    /// For requests.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every network device.
pub async fn links(netlink: &Handle) -> Result<Vec<LinkMessage>> {
    let links = netlink.link().get().execute().try_collect().await;
    links.context("cannot list the network devices")
}

/// Every address of every device.
pub async fn addresses(netlink: &Handle) -> Result<Vec<AddressMessage>> {
    let addresses = netlink.address().get().execute().try_collect().await;
    addresses.context("cannot list the addresses")
}

/// Every route of both families and of all tables.
pub async fn routes(netlink: &Handle) -> Result<Vec<RouteMessage>> {
    let mut routes = Vec::new();
    for query in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let of_family = netlink.route().get(query).execute();
        let of_family: Vec<RouteMessage> = of_family
            .try_collect()
            .await
            .context("cannot list the routes")?;
        routes.extend(of_family);
    }
    Ok(routes)
}

/// The IP address in a route's attribute, if it is one.
#[must_use]
pub fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

/// Whether the kernel refused a request for this reason.
#[must_use]
pub fn is_error(error: &rtnetlink::Error, errno: Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(e) if e.raw_code() == -(errno as i32))
}

//! The two nodes of a world, and whose node a question belongs to.

use std::net::{IpAddr, Ipv4Addr};

use testbed::addr::{self, Both};

/// One of the two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// `node-1`; where only one node is refereed, this one.
    Near,
    /// `node-2`
    Far,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Near, Self::Far];

    /// The node's number, from 1 on.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Near => 1,
            Self::Far => 2,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }

    /// The Node's name.
    #[must_use]
    pub const fn node(self) -> &'static str {
        match self {
            Self::Near => "node-1",
            Self::Far => "node-2",
        }
    }

    /// The node's zone.
    #[must_use]
    pub const fn zone(self) -> &'static str {
        match self {
            Self::Near => "here",
            Self::Far => "there",
        }
    }

    /// The node's pods of the pool, by number; after them comes its client pod.
    #[must_use]
    pub const fn pods(self) -> [usize; 3] {
        match self {
            Self::Near => [0, 1, 2],
            Self::Far => [3, 4, 5],
        }
    }

    /// The pod of the pool that asks on this node.
    #[must_use]
    pub const fn backend(self) -> usize {
        self.pods()[0]
    }

    /// The node's own addresses, as its pods and others know it.
    #[must_use]
    pub const fn addr(self) -> Both {
        addr::lan(10 + self.number())
    }

    /// An address of the node that its Node object does not name.
    #[must_use]
    pub const fn other_address(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, 76 + self.number()))
    }

    /// Number on the segment of the client outside whose networks of Services lead to this node.
    pub(crate) const fn outside(self) -> u8 {
        1 + self.number()
    }
}

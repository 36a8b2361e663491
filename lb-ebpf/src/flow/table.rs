//! The two maps of flows, and the writes to them.

use lb_common::flow::{Flow, FlowKey};

use crate::{
    lru,
    maps::{FLOWS, NEWFLOWS},
};

/// Which of the two maps an entry is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FlowTable {
    /// `lb_newflows`: until the client has answered a reply.
    New,
    /// `lb_flows`.
    Established,
}

impl FlowTable {
    /// The other one.
    #[inline(always)]
    pub fn other(self) -> Self {
        match self {
            Self::New => Self::Established,
            Self::Established => Self::New,
        }
    }

    /// The entry of a key. The map may give its element to another key at any time.
    #[inline(always)]
    pub fn get(self, key: &FlowKey) -> Option<*mut Flow> {
        match self {
            Self::New => NEWFLOWS.get_ptr_mut(key),
            Self::Established => FLOWS.get_ptr_mut(key),
        }
    }

    /// Writes an entry; `how` is one of `BPF_ANY` and `BPF_NOEXIST`.
    #[inline(always)]
    pub fn insert(self, key: &FlowKey, flow: &Flow, how: u32) -> Result<(), i32> {
        match self {
            Self::New => lru::insert(&NEWFLOWS, key, flow, how),
            Self::Established => lru::insert(&FLOWS, key, flow, how),
        }
    }

    /// Removes an entry. False if it was gone already.
    #[inline(always)]
    pub fn remove(self, key: &FlowKey) -> bool {
        match self {
            Self::New => NEWFLOWS.remove(key),
            Self::Established => FLOWS.remove(key),
        }
        .is_ok()
    }
}

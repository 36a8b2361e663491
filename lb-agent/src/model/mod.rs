//! Facts about the cluster in types of our own. No Kubernetes type gets past this point, and
//! nothing here is asynchronous.

mod backend_state;
pub mod cidr;
pub mod cluster;
pub(crate) mod duration;
pub mod endpoint;
pub mod event;
pub mod forwarding;
pub mod key;
pub mod machine;
pub mod max_age;
mod names;
pub mod node;
pub mod passive_health;
pub mod removal;
pub mod service;
pub mod slow_start;
mod spill;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod weights;

pub use backend_state::{BackendState, Eligibility};
pub use cidr::Cidr;
pub use cluster::{Changes, Cluster, Synced, Trigger};
pub use endpoint::{Endpoint, Hints, Slice, SlicePort};
pub use event::{Event, Unread};
pub use forwarding::Forwarding;
pub use key::ObjectKey;
pub use lb_common::scheduler::Scheduler;
pub use machine::{
    Attached, Device, Machine, NoXdp, RpFilter, ServiceCidr, Unwatched, Verification, VethPair,
};
pub use max_age::MaxAge;
pub use node::Node;
pub use passive_health::PassiveHealth;
pub use removal::Removal;
pub use service::{Policy, Service, ServicePort, ServiceType};
pub use slow_start::SlowStart;
pub use spill::Spill;
pub use weights::{Weights, Whereabouts};

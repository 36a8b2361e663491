//! The types of single settings. A value of these types is valid by itself.

mod client_rate;
mod conntrack;
pub mod defaults;
mod devices;
mod log_format;
mod map_capacity;
mod modes;
mod node_port_address;
mod port_range;
mod service_metrics;
mod source;

pub use client_rate::ClientRate;
pub use conntrack::Conntrack;
pub use devices::Devices;
pub use log_format::LogFormat;
pub use map_capacity::MapCapacity;
pub use modes::{BindHold, Lb0Mode, SocketLb, SocketReset, XdpMode};
pub use node_port_address::NodePortAddress;
pub use port_range::{PortRange, SnatPorts};
pub use service_metrics::ServiceMetrics;
pub use source::Source;

pub(in crate::settings) use crate::model::duration;

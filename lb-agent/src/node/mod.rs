//! This machine as netlink shows it: its addresses, and the devices that our programs stand on. Knows nothing of Kubernetes
//! and writes nothing.

pub mod device;

pub use device::Device;

//! Names of the metrics that `lb-agent check` reads from a running agent, without the prefix.

/// What the names of the agent's own metrics begin with, before an underscore.
pub const PREFIX: &str = "lb_agent";
/// The label that names a map.
pub const MAP: &str = "map";

/// Services that are only partly programmed.
pub const SERVICES_WITH_PROBLEMS: &str = "services_with_problems";
/// Manifest files that cannot be read.
pub const BAD_MANIFESTS: &str = "bad_manifests";
/// Devices that a flag names and that do not exist.
pub const MISSING_DEVICES: &str = "missing_devices";
/// Devices that --devices leaves out, and that endpoints of other nodes are routed over.
pub const LEFT_OUT_DEVICES: &str = "left_out_devices";
/// Problems of `lb0` and of its routes.
pub const LB0_PROBLEMS: &str = "lb0_problems";
/// The rule of nftables that masquerades cannot be made.
pub const MASQUERADE_PROBLEMS: &str = "masquerade_problems";
/// Programs that cannot be attached.
pub const ATTACH_PROBLEMS: &str = "attach_problems";
/// Programs that do not run first at ingress, or last at egress.
pub const MISPLACED_PROGRAMS: &str = "misplaced_programs";
/// Ports that a rewritten source may get.
pub const SNAT_PORTS: &str = "snat_ports";
/// Devices that replies may leave by and that no program watches, by name.
pub const UNWATCHED_DEVICES: &str = "unwatched_devices";
/// The label that names a device.
pub const DEVICE: &str = "device";
/// Listening sockets of this machine whose packets a node port takes.
pub const HIDDEN_LISTENERS: &str = "hidden_listeners";
/// Node ports that the kernel may give to connections of this machine.
pub const NODE_PORTS_IN_LOCAL_RANGE: &str = "node_ports_in_local_range";
/// Entries that the last map audit found changed, by map.
pub const MAP_DRIFT: &str = "map_drift_entries";
/// Entries in use, by map.
pub const MAP_ENTRIES: &str = "map_entries";
/// Entries that a map can hold, by map.
pub const MAP_MAX_ENTRIES: &str = "map_max_entries";
/// Connected UDP sockets of stale backends that could not be reset.
pub const UDP_STALE: &str = "udp_sockets_stale";
/// 1 if such sockets can be reset in every network namespace.
pub const UDP_RESET_ENABLED: &str = "udp_reset_enabled";

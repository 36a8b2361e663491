//! Tier 3: the real kernel, sockets, packets and the agent's binary; nodes, pods and clients are
//! network namespaces.

mod agent_attachments;
mod agent_config;
mod agent_devices;
mod agent_life;
mod agent_machine;
mod agent_manifests;
mod agent_switch;
mod bad_objects;
mod bind_hold;
mod datapath;
mod datapath_switch;
mod fragments;
mod health_checks;
mod instructions;
mod lb0;
mod limits;
mod node_port_addresses;
mod packet_affinity;
mod packet_behaviour;
mod packet_jumbo;
mod packet_node_port;
mod packet_records;
mod packet_table;
mod scale;
mod sctp;
mod socket_affinity;
mod socket_count;
mod socket_reach;
mod socket_reasons;
mod socket_state;
mod takeover;
mod testbed_itself;
mod udp_flows;
mod udp_reset;
mod udp_sockets;

//! The testbed: nodes, pods and clients as network namespaces with cgroups and pin directories of
//! their own, and real sockets in them. Everything is made for one test and removed with it.

pub mod addr;
pub mod agent;
pub mod agent_output;
pub mod browser;
pub mod cgroup;
pub mod cgroup_v1;
pub mod cluster;
pub mod endpoint_change;
pub mod flannel;
pub mod host;
pub mod http;
pub mod lan;
pub mod manifest;
pub mod matrix;
pub mod name;
pub mod netns;
pub mod node;
pub mod one_node;
pub mod pins;
pub mod pod;
pub mod poll;
pub mod probe;
pub mod process;
pub mod program;
pub mod pty;
pub mod sandbox;
pub mod sctp;
pub mod stop;
pub mod sweep;
pub mod tunnel;
pub mod two_nodes;

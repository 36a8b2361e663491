//! The testbed: nodes, pods and clients as network namespaces with cgroups and pin directories of their own, and real
//! sockets in them. Everything is made for one test and removed with it.

pub mod addr;
pub mod agent;
pub mod cgroup;
pub mod change;
pub mod cluster;
pub mod flannel;
pub mod host;
pub mod http;
pub mod lan;
pub mod manifest;
pub mod name;
pub mod netns;
pub mod node;
pub mod outside;
pub mod pins;
pub mod place;
pub mod pod;
pub mod poll;
pub mod probe;
pub mod process;
pub mod scene;
pub mod sctp;
pub mod shown;
pub mod stop;
pub mod sweep;

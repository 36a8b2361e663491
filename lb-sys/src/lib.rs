//! The bpf(2) and socket calls that no library offers, each behind a safe function: batches, mapped
//! arrays, links swapped in place. Owns the only unsafe code of the user side; knows nothing of
//! what the maps mean.
//!
//! Every handle asks the kernel for the object's layout before the first byte is exchanged, so a
//! wrong pin is an error and never a buffer that is too short.

mod call;
mod heap;
mod link;
mod map;
mod mapped;
mod netns;
mod object;
mod page;
mod percpu;
mod program;
mod run;
mod tun;

pub use call::{Error, write_calls};
pub use heap::{keep_heap_small, trim_heap};
pub use link::{
    CgroupHook, LinkInfo, LinkTarget, TcHook, Xdp, create_cgroup, create_iter, create_tcx,
    create_xdp, detach, link_info, query_tcx, read_iter, update,
};
pub use map::{Done, Map, value_of};
pub use mapped::MappedArray;
pub use netns::netns_cookie;
pub use object::{MapInfo, create_map, map_info, open_pin, open_pin_read_only, pin};
pub use page::Page;
pub use percpu::PerCpuArray;
pub use program::{load_xdp, open_program, program_id, program_uses_map, xdp_pass};
pub use run::{SkbContext, SkbRun, XdpRun, run_live_frames, run_skb, run_xdp};
pub use tun::create_tun;

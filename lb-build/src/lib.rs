//! Owns the choice of an eBPF toolchain and the compilation of `lb-ebpf` with it.
//! Knows nothing of what the programs do, nor how a missing tool gets installed.

mod cache;
mod compile;
mod probe;
mod toolchain;

pub use cache::{BPF_LINKER_VERSION, bpf_linker_root, cache_dir};
pub use compile::{build_ebpf, cargo_clippy, cargo_for_ebpf, target_dir_of};
pub use probe::{probe, program_on_path};
pub use toolchain::{Choice, Debian, Machine, Nightly, Route, choose};

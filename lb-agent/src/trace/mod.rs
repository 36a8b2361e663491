//! Decisions of the data path, one by one, while somebody looks: the reading side of
//! `lb-ebpf/src/trace/`. Knows no Service; names are the verb's.

mod ring;
mod tracer;

pub use tracer::{Asked, RENEWED, Tracer, Vip};

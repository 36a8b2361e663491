//! The entries: each parses its context, calls one body, and turns its verdict into an int.

mod iter;
mod lb0;
mod sockops;
pub mod tc;
mod xdp;

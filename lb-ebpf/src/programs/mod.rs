//! The entries: each parses its context, calls one body, and turns its verdict into an int.

mod headers;
mod iter;
mod lb0;
mod sock;
mod sockops;
mod tc;
mod xdp;

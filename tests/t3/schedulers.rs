//! The schedulers, by real sockets and packets: on the socket path, by tc, by XDP and over `lb0`,
//! both families.

mod beds;
mod bounds;
mod counts;
mod crowds;
mod live;
mod paths;
mod spill;
mod spread;
mod weights;

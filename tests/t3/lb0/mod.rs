//! `lb0`: packets for VIPs that no socket hook saw. Ping, balance, refusals, source ranges, and the
//! device's own life.

mod balance;
mod chosen;
pub(crate) mod common;
mod life;
mod nodes;
mod ping;
mod refuse;
mod sources;

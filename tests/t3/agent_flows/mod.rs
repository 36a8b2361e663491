//! The agent's half of the flow table: the ports that rewritten sources may get, the times that it
//! sets, and the sweep of what is past.

mod older;
mod ports;
mod sweep;

//! What sockets do: connect, sendmsg, recvmsg, getpeername, bind, and the release of a socket.

pub mod connect;
pub mod context;
mod loopback;
pub mod record;
mod translate;
pub mod udp;

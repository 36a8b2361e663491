//! The programs of sockets; the family of a hook appears only here.

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};

use crate::socket::{
    connect::{bind, connect, getpeername, release},
    context::{Ctx, V4, V6},
    udp::{recvmsg, sendmsg},
};

macro_rules! entries {
    ($($name:ident: $hook:ident, $body:ident, $family:ident;)+) => {$(
        #[cgroup_sock_addr($hook)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            $body(&Ctx::<$family>::new(ctx.sock_addr))
        }
    )+};
}

entries! {
    lb_connect4: connect4, connect, V4;
    lb_connect6: connect6, connect, V6;
    lb_sendmsg4: sendmsg4, sendmsg, V4;
    lb_sendmsg6: sendmsg6, sendmsg, V6;
    lb_recvmsg4: recvmsg4, recvmsg, V4;
    lb_recvmsg6: recvmsg6, recvmsg, V6;
    lb_getpeer4: getpeername4, getpeername, V4;
    lb_getpeer6: getpeername6, getpeername, V6;
    lb_bind4: bind4, bind, V4;
    lb_bind6: bind6, bind, V6;
}

/// The last close of a socket.
#[cgroup_sock(sock_release)]
pub fn lb_sk_release(ctx: SockContext) -> i32 {
    release(ctx.sock.cast())
}

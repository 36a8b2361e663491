//! The programs of sockets; the family of a hook appears only here.

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};

use lb_common::trace::Hook;

use crate::{
    socket::{
        connect::{bind, connect, getpeername, release},
        context::{Ctx, V4, V6},
        udp::{recvmsg, sendmsg},
    },
    trace::socket as trace,
};

macro_rules! entries {
    ($($name:ident: $hook:ident, $body:ident, $family:ident $(, traced as $traced:ident)?;)+) => {$(
        #[cgroup_sock_addr($hook)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            entries!(@ ctx.sock_addr, $body, $family $(, $traced)?)
        }
    )+};
    (@ $raw:expr, $body:ident, $family:ident) => { $body(&Ctx::<$family>::new($raw)) };
    (@ $raw:expr, $body:ident, $family:ident, $traced:ident) => {
        trace::around::<$family>(Hook::$traced, $raw, $body)
    };
}

entries! {
    lb_connect4: connect4, connect, V4, traced as Connect;
    lb_connect6: connect6, connect, V6, traced as Connect;
    lb_sendmsg4: sendmsg4, sendmsg, V4, traced as Sendmsg;
    lb_sendmsg6: sendmsg6, sendmsg, V6, traced as Sendmsg;
    lb_recvmsg4: recvmsg4, recvmsg, V4;
    lb_recvmsg6: recvmsg6, recvmsg, V6;
    lb_getpeer4: getpeername4, getpeername, V4;
    lb_getpeer6: getpeername6, getpeername, V6;
    lb_bind4: bind4, bind, V4, traced as Bind;
    lb_bind6: bind6, bind, V6, traced as Bind;
}

/// The last close of a socket.
#[cgroup_sock(sock_release)]
pub fn lb_sk_release(ctx: SockContext) -> i32 {
    release(ctx.sock.cast())
}

//! The programs: each parses its context, calls one body, and returns its verdict.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod claim;
mod config;
mod count;
mod decide;
mod decide_error;
mod done;
mod draft;
mod echo;
mod flow;
mod icmp;
mod iter;
mod lookup;
mod maps;
mod packet;
mod quote;
mod reset;
mod route;
mod scratch;
mod sctp;
mod sent;
mod skb;
mod sock;
mod sock_connect;
mod sock_ctx;
mod sock_state;
mod sock_udp;
mod sockops;
mod tc;
mod vip;
mod xdp;

/// Helpers that read time, fib and namespaces ask for a GPL-compatible licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

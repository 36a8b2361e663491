//! The programs that run in the kernel. `programs/` holds their entries; what they call is in the
//! folders below them.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod bucket;
mod carry;
mod config;
mod count;
mod decide;
mod flow;
mod fragment;
mod handshake;
mod hash;
mod lookup;
mod lru;
mod maps;
mod mark;
mod oversized;
mod packet;
mod programs;
mod reply;
mod reset;
mod rewrite;
mod route;
mod scratch;
mod socket;
mod tcp;
mod trace;
mod verdict;

/// Helpers that read time, fib and namespaces ask for a GPL-compatible licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

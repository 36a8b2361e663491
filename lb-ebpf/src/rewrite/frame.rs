//! Writes to frames of XDP, whose checksums are kept right by hand (RFC 1624).

use aya_ebpf::programs::XdpContext;
use lb_common::{csum, flow::Flow};

use crate::{
    packet::{self, ETH, Packet, sctp, store},
    scratch::Fib,
};

/// Rewrites addresses and ports to what `flow` says; with a way out, the link-layer header too, and
/// a hop less to live. False, with nothing written, if the frame is not as long as it was.
#[inline(always)]
pub fn write(ctx: &XdpContext, p: &Packet, flow: &Flow, fib: Option<&Fib>) -> bool {
    let crc = if p.is_sctp() {
        sctp::sum(p, flow.sport, flow.dport)
    } else {
        0
    };
    let (data, end) = (ctx.data(), ctx.data_end());
    let ip = data + ETH as usize;
    // No further than headers reach; the mask repeats that for the verifier.
    let l4 = data + (p.l4 & packet::REACH) as usize;
    let header = if p.v4 { 20 } else { 40 };
    if ip + header > end {
        return false;
    }

    let (old_src, old_dst) = (p.src.words(), p.dst.words());
    let (src, dst) = (flow.src.words(), flow.dst.words());
    let addrs = csum::replace(csum::replace(0, old_src, src), old_dst, dst);
    let (old_ports, new_ports) = (
        packet::ports(p.sport, p.dport),
        packet::ports(flow.sport, flow.dport),
    );
    let change = csum::replace(addrs, [old_ports], [new_ports]);

    let sum = csum::update(p.sum as u16, change);
    if p.is_sctp() {
        if l4 + sctp::HEADER as usize > end {
            return false;
        }
        // SAFETY: the twelve bytes were checked; XDP may write its frames.
        unsafe { store(l4 + sctp::SUM as usize, crc) };
    } else if p.is_tcp() {
        if l4 + 20 > end {
            return false;
        }
        // SAFETY: the twenty bytes were checked; XDP may write its frames.
        unsafe { store(l4 + 16, sum) };
    } else {
        if l4 + 8 > end {
            return false;
        }
        // 0 says that there is no sum (RFC 768; in IPv6 of tunnels, RFC 6935).
        if p.sum != 0 {
            // SAFETY: the eight bytes were checked; XDP may write its frames.
            unsafe { store(l4 + 6, if sum == 0 { 0xffff } else { sum }) };
        }
    }

    // SAFETY: the headers were checked above; XDP may write its frames.
    unsafe {
        store(l4, new_ports);
        if p.v4 {
            let mut change = addrs;
            if fib.is_some() {
                change = p.hop(change);
                store(ip + 8, p.ttl - 1);
            }
            store(ip + 10, csum::update(p.header_sum, change));
            store(ip + 12, src[3]);
            store(ip + 16, dst[3]);
        } else {
            // Known from above. Linux 6.1 does not see that this is the same choice as there: a
            // spilled 32-bit value has lost it.
            if ip + 40 > end_again(ctx) {
                return false;
            }
            if fib.is_some() {
                store(ip + 7, p.ttl - 1);
            }
            let mut i = 0;
            while i < 4 {
                store(ip + 8 + i * 4, src[i]);
                store(ip + 24 + i * 4, dst[i]);
                i += 1;
            }
        }
        if let Some(fib) = fib {
            store(data, half(&fib.dmac, 0));
            store(data + 2, half(&fib.dmac, 2));
            store(data + 4, half(&fib.dmac, 4));
            store(data + 6, half(&fib.smac, 0));
            store(data + 8, half(&fib.smac, 2));
            store(data + 10, half(&fib.smac, 4));
        }
    }
    true
}

/// `data_end`, in a read that the compiler cannot leave out: for a bound that the verifier must see
/// once more.
#[inline(always)]
fn end_again(ctx: &XdpContext) -> usize {
    // SAFETY: the kernel's own context, as valid as for `data_end`.
    unsafe { core::ptr::addr_of!((*ctx.ctx).data_end).read_volatile() as usize }
}

/// Two bytes of a link-layer address, as they stand.
#[inline(always)]
fn half(mac: &[u8; 6], at: usize) -> u16 {
    u16::from_ne_bytes([mac[at], mac[at + 1]])
}

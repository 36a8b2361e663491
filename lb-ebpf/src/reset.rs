//! The end of a TCP connection on both sides: the segment in hand, of the client, becomes a reset of
//! the client, of which a copy is sent, and then one of the backend.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_INGRESS},
    helpers::{bpf_clone_redirect, bpf_skb_load_bytes},
};
use lb_common::Reason;

use crate::{
    count::count,
    decide::{Action, Onward, Side},
    mark,
    reply::{limit, tcp_reset},
    rewrite::{redirect, skb},
    scratch,
    verdict::Verdict,
};

/// Is this what was decided?
#[inline(always)]
pub fn is_asked(action: u64) -> bool {
    matches!(Action::unpack(action), Action::Reset(_))
}

/// Resets both sides of the packet in this CPU's room. Beyond the limit of refusals the packet is
/// lost, and sent again by its client. A function of the kernel's own (not inlined), with a stack of
/// its own.
#[inline(never)]
pub fn both(buffer: *mut __sk_buff, action: u64, side: Side) -> Verdict {
    let Some((p, s)) = scratch::held() else {
        return Verdict::Shot;
    };
    if !limit::allows() || tcp_reset::turn(buffer, p, s).is_err() {
        return Verdict::Shot;
    }
    count(Reason::PktReset);
    let Action::Reset(onward) = Action::unpack(action) else {
        return Verdict::Shot;
    };
    let home = redirect::home(&p.src, p.ifindex);
    // Where frames have no Ethernet header, one was made that the offsets do not know.
    if onward == Onward::None || p.net == 0 {
        return match side {
            Side::NodeDevice => redirect::by_device(p.ifindex),
            Side::Lb0 => redirect::into_lb0(buffer, p.ethertype(), home),
        };
    }
    // On this stack: programs at the egress of the copy write this CPU's room.
    let (head, fib, v4) = (tcp_reset::onward(p, s), s.fib, p.v4);
    let to = match side {
        Side::NodeDevice => p.ifindex,
        Side::Lb0 => home,
    };
    if send_copy_back(buffer, to, side).is_err() || tcp_reset::store(buffer, &head, v4).is_err() {
        return Verdict::Shot;
    }
    match onward {
        Onward::Send => {
            mark::sent(buffer);
            redirect::by_device(fib.ifindex)
        }
        Onward::SendKnown => {
            mark::sent(buffer);
            redirect::by_route(&fib)
        }
        Onward::Deliver | Onward::None => Verdict::Next,
    }
}

/// Sends a copy to where the packet came from: to the neighbour that it came from, or into `lb0` or
/// the loopback, where source and destination of a frame are the same. Programs at its egress run
/// within this call, more than one where that device is a tunnel: they may write this CPU's room.
#[inline(always)]
fn send_copy_back(buffer: *mut __sk_buff, ifindex: u32, side: Side) -> Result<(), i64> {
    let mut ends = [0u32; 3];
    // SAFETY: twelve bytes, which the helper checks against the buffer; the program's own context.
    unsafe {
        skb::ok(bpf_skb_load_bytes(
            buffer.cast(),
            0,
            ends.as_mut_ptr().cast(),
            12,
        ))?;
        let [a, b, c] = ends;
        let turned = if ifindex == redirect::LOOPBACK {
            // The stack takes what is for the device's own address.
            [0; 3]
        } else {
            // The last six bytes first: the second half of the second word, and the third.
            [b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16]
        };
        skb::store(buffer, 0, &turned, 0)?;
        let flags = if side == Side::Lb0 {
            u64::from(BPF_F_INGRESS)
        } else {
            // The first of them passes what is marked.
            mark::sent(buffer);
            0
        };
        skb::ok(bpf_clone_redirect(buffer, ifindex, flags))?;
        let _ = mark::take(buffer);
        skb::store(buffer, 0, &ends, 0)
    }
}

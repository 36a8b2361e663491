//! Marks on packets that this node has already rewritten, so that no later program looks them up
//! again.

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext,
};

use lb_common::{fragment, masquerade};

use crate::packet::{load, store};

/// In `skb->tc_index`, which no card and no wire carries. No other program is known to write this
/// number.
const SENT: u32 = 0x6c62;
/// There, too: with the number of an entry of `lb_oversized` in the bits below. The kernel copies it
/// to the fragments and segments that it makes.
const OVERSIZED: u32 = 0x6800;

const _: () = {
    assert!(OVERSIZED & (fragment::OVERSIZED - 1) == 0);
    assert!(SENT & !(fragment::OVERSIZED - 1) != OVERSIZED);
};

/// What an earlier program has marked a packet with; 0 is nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark(u32);

impl Mark {
    /// See [`sent`].
    #[inline(always)]
    pub fn is_sent(self) -> bool {
        self.0 == SENT
    }

    /// See [`oversized`].
    #[inline(always)]
    pub fn is_oversized(self) -> bool {
        self.0 & !(fragment::OVERSIZED - 1) == OVERSIZED
    }

    /// The entry in `lb_oversized`, if it is one of [`oversized`].
    #[inline(always)]
    pub fn slot(self) -> u32 {
        self.0 & (fragment::OVERSIZED - 1)
    }
}

/// In the bytes before the frame (XDP metadata), which no sender can write. No other program is
/// known to write this number.
const REWRITTEN: u32 = u32::from_ne_bytes(*b"lb-x");
const REWRITTEN_LEN: usize = size_of::<u32>();

/// Marks a packet that tc sends on: the program at the egress it leaves by passes it.
#[inline(always)]
pub fn sent(skb: *mut __sk_buff) {
    // SAFETY: a field of the program's own context that tc programs may write.
    unsafe { (*skb).tc_index = SENT };
}

/// Marks a packet that the stack is to masquerade. The mark stays on the packet until it leaves this
/// network namespace.
#[inline(always)]
pub fn masqueraded(skb: *mut __sk_buff) {
    // SAFETY: a field of the program's own context that tc programs may read and write.
    unsafe { (*skb).mark |= masquerade::MARK };
}

/// Marks a packet that the stack is to fragment, with its entry in `lb_oversized`: its source is
/// rewritten where it leaves.
#[inline(always)]
pub fn oversized(skb: *mut __sk_buff, slot: u32) {
    // SAFETY: a field of the program's own context that tc programs may write.
    unsafe { (*skb).tc_index = OVERSIZED | slot };
}

/// Removes a mark of ours. A virtual device would carry it into the namespace behind it.
#[inline(always)]
pub fn take(skb: *mut __sk_buff) -> Mark {
    // SAFETY: a field of the program's own context that tc programs may read and write.
    unsafe {
        let mark = Mark((*skb).tc_index);
        if mark.is_sent() || mark.is_oversized() {
            (*skb).tc_index = 0;
        }
        mark
    }
}

/// Marks a frame that XDP has rewritten and passes to the stack. Pointers into the frame must be
/// read again.
///
/// A driver without metadata carries no mark: then tc looks the packet up, and finds nothing to do.
#[inline(always)]
pub fn rewritten_by_xdp(ctx: &XdpContext) {
    // SAFETY: the program's own context.
    if unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), -(REWRITTEN_LEN as i32)) } != 0 {
        return;
    }
    let at = ctx.metadata();
    if at + REWRITTEN_LEN <= ctx.data() {
        // SAFETY: the four bytes were compared with the start of the frame.
        unsafe { store(at, REWRITTEN) };
    }
}

/// True if XDP has marked the frame that this packet came in.
#[inline(always)]
pub fn is_rewritten_by_xdp(skb: *mut __sk_buff) -> bool {
    // SAFETY: fields of the program's own context; the four bytes are compared with the start of
    // the frame.
    unsafe {
        let (at, data) = ((*skb).data_meta as usize, (*skb).data as usize);
        at + REWRITTEN_LEN <= data && load::<u32>(at) == REWRITTEN
    }
}

//! The mark of a packet that XDP has rewritten and leaves to the stack, so that tc behind it does not look it up once more.
//! Owns the bytes in front of the frame (XDP metadata), which no sender can write.
//!
//! A driver without metadata carries no mark: then tc looks, and finds nothing to do.

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext,
};

use crate::{packet::{load, store}};

/// No other program is known to write this number.
const DONE: u32 = u32::from_ne_bytes(*b"lb-x");
const LEN: usize = size_of::<u32>();

/// Marks the frame. Pointers into it are to be read anew.
#[inline(always)]
pub fn mark(ctx: &XdpContext) {
    // SAFETY: the program's own context.
    if unsafe { bpf_xdp_adjust_meta(ctx.as_ptr().cast(), -(LEN as i32)) } != 0 {
        return;
    }
    let at = ctx.metadata();
    if at + LEN <= ctx.data() {
        // SAFETY: the four bytes were compared with the start of the frame.
        unsafe { store(at, DONE) };
    }
}

/// Did XDP mark it?
#[inline(always)]
pub fn by_xdp(skb: *mut __sk_buff) -> bool {
    // SAFETY: fields of the program's own context; the four bytes are compared with the start of the frame.
    unsafe {
        let (at, data) = ((*skb).data_meta as usize, (*skb).data as usize);
        at + LEN <= data && load::<u32>(at) == DONE
    }
}

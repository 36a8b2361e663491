//! The mark of a packet that tc sends on by itself, so that the program at the egress it leaves by does not look it up once
//! more. Owns the use of `skb->tc_index`, which no card and no wire carries.

use aya_ebpf::bindings::__sk_buff;

/// No other program is known to write this number.
const SENT: u16 = 0x6c62;

/// Marks the packet.
#[inline(always)]
pub fn mark(skb: *mut __sk_buff) {
    // SAFETY: a field of the program's own context that tc programs may write.
    unsafe { (*skb).tc_index = u32::from(SENT) };
}

/// Was it marked? The mark is gone then: a virtual device would carry it into the namespace behind it.
#[inline(always)]
pub fn take(skb: *mut __sk_buff) -> bool {
    // SAFETY: a field of the program's own context that tc programs may read and write.
    unsafe {
        let marked = (*skb).tc_index == u32::from(SENT);
        if marked {
            (*skb).tc_index = 0;
        }
        marked
    }
}

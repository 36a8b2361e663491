//! The contexts of the socket programs: every access to `bpf_sock_addr` and `bpf_sock`, one load or
//! store for each field, of the width that the verifier asks for.

use core::{ffi::c_void, marker::PhantomData, ptr};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_netns_cookie,
        bpf_get_socket_cookie, bpf_set_retval,
    },
};
use lb_common::Addr;

use crate::{config, maps::AGENT};

/// `enum` values of Linux's errno.h that the programs return.
pub mod errno {
    /// Invalid argument.
    pub const EINVAL: i32 = 22;
    /// Address already in use.
    pub const EADDRINUSE: i32 = 98;
    /// Connection refused.
    pub const ECONNREFUSED: i32 = 111;
    /// No route to host.
    pub const EHOSTUNREACH: i32 = 113;
}

/// Verdict of every `cgroup_sock_addr` program: go on.
pub const PASS: i32 = 1;
/// `TCP_ESTABLISHED`, also the state of a connected UDP socket.
const ESTABLISHED: u32 = 1;

/// What differs between IPv4 and IPv6 programs: where the address stands in the context.
pub trait Family {
    /// Can the context hold this address?
    fn fits(addr: &Addr) -> bool;
    /// The address in the context.
    ///
    /// # Safety
    /// `raw` is the context of a program of this family.
    unsafe fn load(raw: *mut bpf_sock_addr) -> Addr;
    /// Writes the address into the context.
    ///
    /// # Safety
    /// As for [`Family::load`].
    unsafe fn store(raw: *mut bpf_sock_addr, addr: &Addr);
    /// The address that a socket is connected to, as a program of this family names it.
    ///
    /// # Safety
    /// `sock` is the socket of a context of this family.
    unsafe fn peer(sock: *mut bpf_sock) -> Addr;
    /// The address that a socket is bound to, as a program of this family names it.
    ///
    /// # Safety
    /// As for [`Family::peer`].
    unsafe fn bound(sock: *mut bpf_sock) -> Addr;
    /// The source of a datagram: what the socket is bound to, or what the message asks for.
    ///
    /// # Safety
    /// `raw` is the context of a sendmsg program of this family.
    unsafe fn sent_from(raw: *mut bpf_sock_addr) -> Addr;
}

/// connect4 and its kind.
pub struct V4;
/// connect6 and its kind, IPv4-mapped addresses included.
pub struct V6;

impl Family for V4 {
    #[inline(always)]
    fn fits(addr: &Addr) -> bool {
        addr.is_v4()
    }

    #[inline(always)]
    unsafe fn load(raw: *mut bpf_sock_addr) -> Addr {
        // SAFETY: the caller's promise; a readable u32 of the context.
        let ip = unsafe { ptr::read_volatile(&raw const (*raw).user_ip4) };
        Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), ip])
    }

    #[inline(always)]
    unsafe fn store(raw: *mut bpf_sock_addr, addr: &Addr) {
        // SAFETY: the caller's promise; a writable u32 of the context.
        unsafe { ptr::write_volatile(&raw mut (*raw).user_ip4, addr.words()[3]) };
    }

    #[inline(always)]
    unsafe fn peer(sock: *mut bpf_sock) -> Addr {
        // SAFETY: the caller's promise; a readable u32 of the socket.
        let ip = unsafe { ptr::read_volatile(&raw const (*sock).dst_ip4) };
        Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), ip])
    }

    #[inline(always)]
    unsafe fn bound(sock: *mut bpf_sock) -> Addr {
        // SAFETY: the caller's promise; a readable u32 of the socket.
        let ip = unsafe { ptr::read_volatile(&raw const (*sock).src_ip4) };
        Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), ip])
    }

    #[inline(always)]
    unsafe fn sent_from(raw: *mut bpf_sock_addr) -> Addr {
        // SAFETY: the caller's promise; a readable u32 of that context.
        let ip = unsafe { ptr::read_volatile(&raw const (*raw).msg_src_ip4) };
        Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), ip])
    }
}

impl Family for V6 {
    #[inline(always)]
    fn fits(_addr: &Addr) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn load(raw: *mut bpf_sock_addr) -> Addr {
        // SAFETY: the caller's promise; four readable u32 of the context.
        unsafe {
            Addr::from_words([
                ptr::read_volatile(&raw const (*raw).user_ip6[0]),
                ptr::read_volatile(&raw const (*raw).user_ip6[1]),
                ptr::read_volatile(&raw const (*raw).user_ip6[2]),
                ptr::read_volatile(&raw const (*raw).user_ip6[3]),
            ])
        }
    }

    #[inline(always)]
    unsafe fn store(raw: *mut bpf_sock_addr, addr: &Addr) {
        let w = addr.words();
        // SAFETY: the caller's promise; four writable u32 of the context.
        unsafe {
            ptr::write_volatile(&raw mut (*raw).user_ip6[0], w[0]);
            ptr::write_volatile(&raw mut (*raw).user_ip6[1], w[1]);
            ptr::write_volatile(&raw mut (*raw).user_ip6[2], w[2]);
            ptr::write_volatile(&raw mut (*raw).user_ip6[3], w[3]);
        }
    }

    #[inline(always)]
    unsafe fn peer(sock: *mut bpf_sock) -> Addr {
        // SAFETY: the caller's promise; four readable u32 of the socket.
        unsafe {
            Addr::from_words([
                ptr::read_volatile(&raw const (*sock).dst_ip6[0]),
                ptr::read_volatile(&raw const (*sock).dst_ip6[1]),
                ptr::read_volatile(&raw const (*sock).dst_ip6[2]),
                ptr::read_volatile(&raw const (*sock).dst_ip6[3]),
            ])
        }
    }

    #[inline(always)]
    unsafe fn bound(sock: *mut bpf_sock) -> Addr {
        // SAFETY: the caller's promise; four readable u32 of the socket.
        unsafe {
            Addr::from_words([
                ptr::read_volatile(&raw const (*sock).src_ip6[0]),
                ptr::read_volatile(&raw const (*sock).src_ip6[1]),
                ptr::read_volatile(&raw const (*sock).src_ip6[2]),
                ptr::read_volatile(&raw const (*sock).src_ip6[3]),
            ])
        }
    }

    #[inline(always)]
    unsafe fn sent_from(raw: *mut bpf_sock_addr) -> Addr {
        // SAFETY: the caller's promise; four readable u32 of that context.
        unsafe {
            Addr::from_words([
                ptr::read_volatile(&raw const (*raw).msg_src_ip6[0]),
                ptr::read_volatile(&raw const (*raw).msg_src_ip6[1]),
                ptr::read_volatile(&raw const (*raw).msg_src_ip6[2]),
                ptr::read_volatile(&raw const (*raw).msg_src_ip6[3]),
            ])
        }
    }
}

/// The context of a `cgroup_sock_addr` program of family `F`.
pub struct Ctx<F> {
    raw: *mut bpf_sock_addr,
    family: PhantomData<F>,
}

impl<F: Family> Ctx<F> {
    /// `raw` comes from the program's entry, which is what makes the accesses below sound.
    #[inline(always)]
    pub fn new(raw: *mut bpf_sock_addr) -> Self {
        Self {
            raw,
            family: PhantomData,
        }
    }

    /// The address that the application gave, or that it is about to see.
    #[inline(always)]
    pub fn addr(&self) -> Addr {
        // SAFETY: the context of a program of this family.
        unsafe { F::load(self.raw) }
    }

    /// Its port, host order.
    #[inline(always)]
    pub fn port(&self) -> u16 {
        // SAFETY: a readable u32 of the context, the port in network order in its first two bytes.
        let port = unsafe { ptr::read_volatile(&raw const (*self.raw).user_port) };
        u16::from_be(port as u16)
    }

    /// Replaces address and port (host order); false, and nothing done, if the address is of the
    /// other family.
    #[inline(always)]
    #[must_use]
    pub fn set(&self, addr: &Addr, port: u16) -> bool {
        if !F::fits(addr) {
            return false;
        }
        // SAFETY: the context of a program of this family; a writable u32 of it.
        unsafe {
            F::store(self.raw, addr);
            ptr::write_volatile(&raw mut (*self.raw).user_port, u32::from(port.to_be()));
        }
        true
    }

    /// IANA protocol number of the socket.
    #[inline(always)]
    pub fn protocol(&self) -> u32 {
        // SAFETY: a readable u32 of the context.
        unsafe { ptr::read_volatile(&raw const (*self.raw).protocol) }
    }

    /// The socket, as storage helpers want it.
    #[inline(always)]
    pub fn sk(&self) -> *mut c_void {
        self.sock().cast()
    }

    #[inline(always)]
    fn sock(&self) -> *mut bpf_sock {
        // SAFETY: a readable pointer of the context, never null.
        unsafe { ptr::read_volatile(&raw const (*self.raw).__bindgen_anon_1.sk) }
    }

    /// Bound to a device by SO_BINDTODEVICE?
    #[inline(always)]
    pub fn bound_to_device(&self) -> bool {
        // SAFETY: a readable u32 of the socket.
        unsafe { ptr::read_volatile(&raw const (*self.sock()).bound_dev_if) != 0 }
    }

    /// The address that the socket is bound to; unspecified without one.
    #[inline(always)]
    pub fn bound(&self) -> Addr {
        // SAFETY: the socket of a context of this family.
        unsafe { F::bound(self.sock()) }
    }

    /// The source of the datagram in hand, if it has one already. Of a sendmsg program alone.
    #[inline(always)]
    pub fn sent_from(&self) -> Addr {
        // SAFETY: the context of a sendmsg program of this family, by the caller's choice: the
        // verifier refuses any other.
        unsafe { F::sent_from(self.raw) }
    }

    /// A connected socket at this moment (before what the call in hand may change)?
    #[inline(always)]
    pub fn connected(&self) -> bool {
        // SAFETY: a readable u32 of the socket.
        unsafe { ptr::read_volatile(&raw const (*self.sock()).state) == ESTABLISHED }
    }

    /// Is the socket connected to this address and port (host order)?
    #[inline(always)]
    pub fn connected_to(&self, addr: &Addr, port: u16) -> bool {
        if !self.connected() {
            return false;
        }
        // SAFETY: the socket of this context; a readable u16 of it, in network order.
        unsafe {
            let peer_port = ptr::read_volatile(&raw const (*self.sock()).dst_port);
            u16::from_be(peer_port) == port && F::peer(self.sock()) == *addr
        }
    }

    /// The number of this socket that is never given out again (SO_COOKIE).
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the context of this program type; Linux 5.8 for sock_addr.
        unsafe { bpf_get_socket_cookie(self.raw.cast()) }
    }

    /// The number of its network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u64 {
        // SAFETY: the context of this program type; Linux 5.7 for sock_addr.
        unsafe { bpf_get_netns_cookie(self.raw.cast()) }
    }

    /// In the host's network namespace?
    #[inline(always)]
    pub fn in_host(&self) -> bool {
        self.netns() == config::host_netns_cookie()
    }
}

/// The verdict that makes the system call fail with `errno`.
#[inline(always)]
pub fn refuse(errno: i32) -> i32 {
    // SAFETY: a helper without pointers; Linux 5.18.
    unsafe { bpf_set_retval(-errno) };
    0
}

/// Is it the agent itself that calls? It may need a connection while its own services are not
/// programmed yet.
#[inline(always)]
pub fn by_agent() -> bool {
    let Some(agent) = AGENT.get(0) else {
        return false;
    };
    // SAFETY: helpers without arguments; Linux 6.1 for sock_addr.
    unsafe {
        agent.tgid == (bpf_get_current_pid_tgid() >> 32) as u32
            && agent.cgroup == bpf_get_current_cgroup_id()
    }
}

//! The network namespace of the calling thread, by its cookie.

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use crate::call::Error;

/// `SO_NETNS_COOKIE` of a socket of this thread: what `bpf_get_netns_cookie` tells programs. Linux
/// 5.14.
pub fn netns_cookie() -> Result<u64, Error> {
    let failed = |call| move |source: io::Error| Error::Call { call, source };
    // An unbound socket would do, but the standard library only makes bound ones: the wildcard of
    // either family.
    let socket = UdpSocket::bind("0.0.0.0:0")
        .or_else(|_| UdpSocket::bind("[::]:0"))
        .map_err(failed("socket"))?;
    let mut cookie = 0u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(0);
    // SAFETY: a live socket; the kernel writes at most `len` bytes to `cookie`.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if rc != 0 {
        return Err(failed("getsockopt(SO_NETNS_COOKIE)")(
            io::Error::last_os_error(),
        ));
    }
    Ok(cookie)
}

/// Of `asm-generic/socket.h`, which the supported architectures use.
const SO_NETNS_COOKIE: libc::c_int = 71;

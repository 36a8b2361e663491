//! Tunnel devices of userspace (tun): what a device sends is read from its descriptor, and what is
//! written there comes in on it.

use std::{fs::File, io, os::fd::AsRawFd as _};

use crate::call::Error;

/// `TUNSETIFF`
const SET_NAME: libc::c_ulong = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: packets without a link header, and nothing in front of them.
const BARE: libc::c_short = 0x1001;

/// The head of `struct ifreq` as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes a tun device of this name in the calling thread's network namespace; it goes with the
/// descriptor.
pub fn create_tun(name: &str) -> Result<File, Error> {
    let failed = |call| move |source: io::Error| Error::Call { call, source };
    let mut options = File::options();
    let device = options.read(true).write(true).open("/dev/net/tun");
    let device = device.map_err(failed("open(/dev/net/tun)"))?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: BARE,
        rest: [0; 22],
    };
    // The last byte stays 0.
    for (to, from) in request.name[..libc::IFNAMSIZ - 1]
        .iter_mut()
        .zip(name.bytes())
    {
        *to = from;
    }
    // SAFETY: a live descriptor; the kernel reads and writes a `struct ifreq`, which is no longer.
    let rc = unsafe { libc::ioctl(device.as_raw_fd(), SET_NAME, &raw mut request) };
    if rc != 0 {
        return Err(failed("ioctl(TUNSETIFF)")(io::Error::last_os_error()));
    }
    Ok(device)
}

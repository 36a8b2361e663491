//! Settings of the kernel in this network namespace, read live.

use std::{fs, io, path::Path};

/// Below `/proc/sys`. A read of one's own network namespace: such settings differ between them.
const ROOT: &str = "/proc/sys";

/// The text of a setting, such as `net.ipv4.ip_local_port_range`.
pub fn read(name: &str) -> io::Result<String> {
    let text = fs::read_to_string(Path::new(ROOT).join(name.replace('.', "/")))?;
    Ok(text.trim().to_owned())
}

/// A setting that is a number; `None` if the kernel has no such setting.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    read(name).ok()?.parse().ok()
}

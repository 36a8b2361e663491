//! A pinned link: created once, and from then on its program is swapped in place, without a gap.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use lb_sys::{Error, LinkInfo, link_info, open_pin};

use crate::maps::dir::{names, unpin};

/// Beginning of the name of a link's pin while it is being made.
const NEW: &str = "new-";

/// The pin of a program's link on a device. It begins with the index, since devices may swap their
/// names; the name is for people, with `_` for characters that bpffs forbids (a dot).
#[must_use]
pub(crate) fn device_pin(program: &str, name: &str, ifindex: u32) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let spelt: String = name
        .chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect();
    format!("{program}-{ifindex}-{spelt}")
}

/// Every pinned link in the folder. Skips other objects, and removes pins that an agent had not
/// finished when it ended.
pub(crate) fn all(folder: &Path) -> Result<Vec<(String, LinkInfo)>> {
    let mut links = Vec::new();
    for name in names(folder)? {
        let path = folder.join(&name);
        if name.starts_with(NEW) {
            unpin(&path)?;
        } else if let Ok(info) = open_pin(&path).and_then(link_info) {
            links.push((name, info));
        }
    }
    Ok(links)
}

/// What [`put`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Put {
    /// The pinned link runs the program now.
    Updated,
    /// A new link was made and pinned.
    Created,
}

/// Has the link pinned at `path` run `program`: in place if there is one that `fits`, else by a
/// link that `create` makes, whose pin then takes the place.
pub(crate) fn put(
    path: &Path,
    program: BorrowedFd<'_>,
    fits: impl Fn(&LinkInfo) -> bool,
    create: impl FnOnce() -> Result<OwnedFd, Error>,
) -> Result<Put> {
    if let Some((link, info)) = open(path)
        && fits(&info)
    {
        match lb_sys::update(&link, program) {
            Ok(()) => return Ok(Put::Updated),
            // What it was attached to is gone.
            Err(e) if e.errno() == Some(nix::libc::ENOLINK) => {}
            Err(e) => {
                return Err(e).with_context(|| {
                    format!("cannot swap the program of the link {}", path.display())
                });
            }
        }
    }
    let link = create()?;
    replace(path, link.as_fd())?;
    Ok(Put::Created)
}

fn open(path: &Path) -> Option<(OwnedFd, LinkInfo)> {
    let link = open_pin(path).ok()?;
    let info = link_info(&link).ok()?;
    Some((link, info))
}

/// Pins the object at `path`, over whatever is pinned there.
pub(crate) fn replace(path: &Path, object: BorrowedFd<'_>) -> Result<()> {
    let failed = || format!("cannot pin {}", path.display());
    let new = new_path(path);
    unpin(&new)?;
    lb_sys::pin(object, &new).with_context(failed)?;
    fs::rename(&new, path).with_context(failed)
}

fn new_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{NEW}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pins_fit_the_file_system_and_differ() {
        assert_eq!(device_pin("lb_xdp", "eth0", 2), "lb_xdp-2-eth0");
        assert_eq!(device_pin("lb_xdp", "eth0.100", 7), "lb_xdp-7-eth0_100");
        assert_eq!(device_pin("lb_xdp", "eth0_100", 8), "lb_xdp-8-eth0_100");
        assert_eq!(device_pin("lb_xdp", "wan@1", 9), "lb_xdp-9-wan_1");
    }

    #[test]
    fn an_unfinished_pin_is_beside_its_final_place() {
        assert_eq!(
            new_path(Path::new("/b/links/lb_connect4")),
            Path::new("/b/links/new-lb_connect4")
        );
    }
}

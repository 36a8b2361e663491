//! What is in a guest's first filesystem: busybox, kernel modules, programs of this machine with
//! their libraries. Starts no guest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use lb_build::program_on_path;
use tempfile::TempDir;

use super::{archive::Archive, kernel::Kernel};

/// Where things of ours are in the guest.
pub(crate) const OURS: &str = "/lb";

/// Programs that belong to others of the same package.
const RELATED: [&str; 13] = [
    "bridge",
    "chrt",
    "ip6tables",
    "ip6tables-restore",
    "ip6tables-save",
    "iptables-legacy",
    "iptables-nft",
    "iptables-restore",
    "iptables-save",
    "ipvsadm",
    "mount",
    "ss",
    "umount",
];

/// Folders of files that programs open by themselves.
const OPENED: [&str; 3] = ["xtables", "tc", "iproute2"];

const EMPTY_FOLDERS: [&str; 7] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/out", "/root"];

const FILES: [(&str, &str); 7] = [
    ("/init", include_str!("init.sh")),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/resolv.conf", ""),
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
    // Programs ask for protocols by name.
    (
        "/etc/protocols",
        "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n",
    ),
];

/// An archive in the making.
pub(crate) struct Payload {
    archive: Archive,
    folder: TempDir,
}

impl Payload {
    /// With all that every guest has.
    pub(crate) fn new(kernel: &Kernel, programs: &[&str]) -> Result<Self> {
        let folder = super::folder("guest")?;
        let archive = Archive::create(&folder.path().join("initrd"))?;
        let mut payload = Self { archive, folder };
        for at in EMPTY_FOLDERS {
            payload.archive.folder(at)?;
        }
        for (at, text) in FILES {
            payload.archive.file(at, text.as_bytes())?;
        }
        let busybox = program_on_path("busybox").context("busybox is gone")?;
        payload.archive.copy("/bin/busybox", &busybox)?;
        for link in ["/bin/sh", "/sbin/modprobe"] {
            payload.archive.link(link, "/bin/busybox")?;
        }
        payload.tree("/lib/modules", &kernel.modules())?;
        for name in programs.iter().chain(&RELATED) {
            // What is not here is not needed, or its test says so.
            if let Some(path) = program_on_path(name) {
                let at = path.display().to_string();
                payload.program(&at, &path)?;
            }
        }
        Ok(payload)
    }

    /// A program with the libraries that it names.
    pub(crate) fn program(&mut self, at: &str, path: &Path) -> Result<()> {
        if self.archive.holds(at) {
            return Ok(());
        }
        self.archive.copy(at, path)?;
        self.libraries(path)
    }

    /// A program that we built, without what only a debugger reads; its name.
    pub(crate) fn built(&mut self, name: &str, path: &Path) -> Result<()> {
        let small = self.folder.path().join(name);
        let stripped = Command::new("strip")
            .arg("-o")
            .args([&small, path])
            .status();
        let at = format!("{OURS}/{name}");
        if stripped.is_ok_and(|status| status.success()) {
            self.program(&at, &small)?;
            return fs::remove_file(&small).context("remove a copy of a program");
        }
        self.program(&at, path)
    }

    /// Ends it: what the guest runs is the text of a shell script. The file, to be started before
    /// the value goes.
    pub(super) fn finish(mut self, command: &str) -> Result<(PathBuf, TempDir)> {
        self.archive.file("/command", command.as_bytes())?;
        let Self { archive, folder } = self;
        archive.finish()?;
        Ok((folder.path().join("initrd"), folder))
    }

    fn libraries(&mut self, path: &Path) -> Result<()> {
        let said = Command::new("ldd").arg(path).output().context("run ldd")?;
        // A program without libraries is an error to ldd, and none to us.
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        for library in named(&text)? {
            let library = Path::new(library);
            let folder = library.parent().context("a library has a folder")?;
            self.archive.copy(&library.display().to_string(), library)?;
            for opened in OPENED {
                let opened = Path::new("/usr")
                    .join(folder.strip_prefix("/").unwrap_or(folder))
                    .join(opened);
                if opened.is_dir() && !self.archive.holds(&opened.display().to_string()) {
                    self.tree(&opened.display().to_string(), &opened)?;
                }
            }
        }
        Ok(())
    }

    fn tree(&mut self, at: &str, from: &Path) -> Result<()> {
        self.archive.folder(at)?;
        for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
            let entry = entry?;
            let name = format!("{at}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                self.tree(&name, &entry.path())?;
            } else {
                self.archive.copy(&name, &entry.path())?;
            }
        }
        Ok(())
    }
}

/// The files in lines such as `libc.so.6 => /lib/libc.so.6 (0x7f…)` and
/// `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn named(ldd: &str) -> Result<Vec<&str>> {
    let mut files = Vec::new();
    for line in ldd.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("a library is missing on this machine: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if let (true, Some((path, _))) = (path.starts_with('/'), path.split_once(" (")) {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(named(said).unwrap(), expected);
        assert_eq!(named("\tstatically linked\n").unwrap(), Vec::<&str>::new());
        assert!(named("\tlibx.so => not found\n").is_err());
    }
}

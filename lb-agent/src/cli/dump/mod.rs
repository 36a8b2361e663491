//! `lb-agent dump FILE.tar.gz`: everything that a bug report needs, without secrets. Each part is
//! gathered by itself: one that fails says so in its file, and the others are there. `-` is standard
//! output, for containers without a file system of their own.

mod redact;

use std::{
    env,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use redact::Redactor;
use tar::{Builder, Header};

use super::{
    args::Dump,
    ask,
    output::print,
    state::{kept_files, state_dir},
};
use crate::maps::dir::{BpfDir, names};

/// Files of the kernel that describe this machine's network.
const KERNEL: &[&str] = &[
    "/proc/version",
    "/proc/meminfo",
    "/proc/mounts",
    "/proc/net/dev",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/net/fib_trie",
    "/proc/net/sockstat",
    "/proc/net/snmp",
    "/proc/net/netstat",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
];

/// What this machine's own tools show, where they are installed.
const TOOLS: &[(&str, &[&str])] = &[
    ("ip-rule.txt", &["ip", "rule", "show"]),
    ("ip-rule-6.txt", &["ip", "-6", "rule", "show"]),
    ("ip-route.txt", &["ip", "route", "show", "table", "all"]),
    (
        "ip-route-6.txt",
        &["ip", "-6", "route", "show", "table", "all"],
    ),
    ("ip-link.txt", &["ip", "-details", "link", "show"]),
    ("ip-address.txt", &["ip", "address", "show"]),
    ("bpftool-net.txt", &["bpftool", "net", "show"]),
    ("bpftool-prog.txt", &["bpftool", "prog", "show"]),
];

/// Carries the verb out.
pub fn run(args: &Dump) -> Result<()> {
    let is_stdout = args.file.as_os_str() == "-";
    let shown = if is_stdout {
        "standard output".to_owned()
    } else {
        args.file.display().to_string()
    };
    let to: Box<dyn Write> = if is_stdout {
        Box::new(io::stdout().lock())
    } else {
        Box::new(create(&args.file).with_context(|| format!("create {shown}"))?)
    };
    let mut archive = Archive {
        tar: Builder::new(GzEncoder::new(to, Compression::default())),
        now: jiff::Timestamp::now().as_second().unsigned_abs(),
        redactor: Redactor::new()?,
        parts: 0,
    };
    gather(args, &mut archive)?;
    let parts = archive.parts;
    let gz = archive
        .tar
        .into_inner()
        .with_context(|| format!("write {shown}"))?;
    let mut to = gz.finish().with_context(|| format!("write {shown}"))?;
    to.flush().with_context(|| format!("write {shown}"))?;
    let said = format!(
        "{shown}: {parts} files; names and addresses of Services and pods are in it, tokens and passwords are not\n"
    );
    if is_stdout {
        eprint!("{said}");
        return Ok(());
    }
    print(&said)
}

/// A file that only its owner can read, and that nothing was at before: no link is followed.
fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn gather(args: &Dump, archive: &mut Archive) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let state = state_dir(&args.state, &dir);
    let (pins, kept) = (
        dir.root().display().to_string(),
        state.display().to_string(),
    );
    for what in [
        "services", "backends", "flows", "sockets", "affinity", "events",
    ] {
        let words = [
            "get",
            what,
            "-o",
            "json",
            "--bpf-dir",
            &pins,
            "--state-dir",
            &kept,
        ];
        archive.add(&format!("get-{what}.json"), &verb(&words))?;
    }
    let metrics = args.metrics.address();
    let (health, asked) = (args.health.address().to_string(), metrics.to_string());
    for (name, words) in [
        (
            "status.json",
            &[
                "status",
                "-o",
                "json",
                "--bpf-dir",
                &pins,
                "--health-bind-address",
                &health,
            ][..],
        ),
        (
            "check.json",
            &[
                "check",
                "-o",
                "json",
                "--bpf-dir",
                &pins,
                "--metrics-bind-address",
                &asked,
            ],
        ),
        (
            "version.json",
            &[
                "version",
                "-o",
                "json",
                "--bpf-dir",
                &pins,
                "--metrics-bind-address",
                &asked,
            ],
        ),
    ] {
        archive.add(name, &verb(words))?;
    }
    for (name, path) in [("metrics.txt", "/metrics"), ("configz.json", "/configz")] {
        let said = ask::get(metrics, path).map(|(_, body)| body);
        archive.add(
            name,
            &said.unwrap_or_else(|| format!("no agent answers at {metrics}\n")),
        )?;
    }
    archive.add("pins.txt", &pins_of(&dir))?;
    for path in kept_files(&state, &dir) {
        let name = path.file_name().unwrap_or_default().display();
        archive.add(&format!("state/{name}"), &read(&path))?;
    }
    for path in KERNEL {
        archive.add(path.trim_start_matches('/'), &read(Path::new(path)))?;
    }
    for (name, words) in TOOLS {
        archive.add(name, &command(words[0], &words[1..]))?;
    }
    if let Some(log) = &args.log {
        archive.add("agent.log", &read(log))?;
    }
    Ok(())
}

struct Archive {
    tar: Builder<GzEncoder<Box<dyn Write>>>,
    /// Seconds since 1970.
    now: u64,
    redactor: Redactor,
    parts: usize,
}

impl Archive {
    fn add(&mut self, name: &str, text: &str) -> Result<()> {
        let text = self.redactor.redacted(text);
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(self.now);
        let path = Path::new("lb-agent-dump").join(name);
        let added = self.tar.append_data(&mut header, path, text.as_bytes());
        added.with_context(|| format!("add {name}"))?;
        self.parts += 1;
        Ok(())
    }
}

/// What one of our own verbs prints.
fn verb(words: &[&str]) -> String {
    match env::current_exe() {
        Ok(binary) => command(&binary.to_string_lossy(), words),
        Err(error) => format!("cannot find this binary: {error}\n"),
    }
}

/// What a command prints; what it says of failures is behind that.
fn command(program: &str, words: &[&str]) -> String {
    match Command::new(program).args(words).output() {
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stdout);
            if out.status.success() {
                said.into_owned()
            } else {
                format!(
                    "{said}{}{}\n",
                    String::from_utf8_lossy(&out.stderr),
                    out.status
                )
            }
        }
        Err(error) => format!("cannot run {program}: {error}\n"),
    }
}

fn read(path: &Path) -> String {
    match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("cannot read {}: {error}\n", path.display()),
    }
}

fn pins_of(dir: &BpfDir) -> String {
    let mut text = String::new();
    for folder in [dir.links(), dir.clsact(), dir.maps()] {
        match names(&folder) {
            Ok(all) => {
                for name in all {
                    let _ = writeln!(text, "{}/{name}", folder.display());
                }
            }
            Err(error) => {
                let _ = writeln!(text, "{error:#}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn an_archive_is_its_owners_alone_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        let file = create(&path).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(create(&path).is_err());
        let link = dir.path().join("link");
        symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(create(&link).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}

//! What a machine without a cluster gets: the program, its unit, its pages, its examples.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    deb::Deb,
    tree::{Tree, gzip},
};

/// Files of the package that a user edits.
const CONFFILES: [&str; 1] = ["etc/default/lb-agent"];

/// What a package is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The clone.
    pub root: &'a Path,
    /// The program; it is run for its pages and completions, so it must be of this machine.
    pub binary: &'a Path,
    /// The licences of everything that it contains.
    pub licences: &'a str,
}

impl Sources<'_> {
    /// Every file, by its path relative to `/`.
    pub fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.add("usr/bin/lb-agent", 0o755, read_at(self.binary)?);
        for (from, to) in [
            (
                "packaging/lb-agent.service",
                "usr/lib/systemd/system/lb-agent.service",
            ),
            ("packaging/lb-agent.default", CONFFILES[0]),
            ("packaging/services.README", "etc/lb-agent/services/README"),
            ("README.md", "usr/share/doc/lb-agent/README.md"),
            ("CHANGELOG.md", "usr/share/doc/lb-agent/CHANGELOG.md"),
            ("LICENSE-MIT", "usr/share/doc/lb-agent/LICENSE-MIT"),
            ("LICENSE-APACHE", "usr/share/doc/lb-agent/LICENSE-APACHE"),
        ] {
            tree.add(to, 0o644, read_at(&self.root.join(from))?);
        }
        tree.add("usr/share/doc/lb-agent/copyright", 0o644, self.licences);
        let examples = self.root.join("examples/manifests");
        for entry in
            fs::read_dir(&examples).with_context(|| format!("list {}", examples.display()))?
        {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            tree.add(
                &format!("usr/share/doc/lb-agent/examples/{name}"),
                0o644,
                read_at(&path)?,
            );
        }
        for (shell, to) in [
            ("bash", "usr/share/bash-completion/completions/lb-agent"),
            ("zsh", "usr/share/zsh/vendor-completions/_lb-agent"),
            ("fish", "usr/share/fish/vendor_completions.d/lb-agent.fish"),
        ] {
            tree.add(to, 0o644, self.said(&["completion", shell])?);
        }
        self.add_pages(&mut tree)?;
        Ok(tree)
    }

    fn add_pages(&self, tree: &mut Tree) -> Result<()> {
        let dir = std::env::temp_dir().join(format!("lb-dist-{}", std::process::id()));
        let written = self
            .said(&["man", &dir.display().to_string()])
            .and_then(|_| {
                for entry in fs::read_dir(&dir).context("list the pages")? {
                    let path = entry?.path();
                    let name = path
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned();
                    let page = gzip(&read_at(&path)?)?;
                    tree.add(&format!("usr/share/man/man1/{name}.gz"), 0o644, page);
                }
                Ok(())
            });
        // Gone whether or not the pages were read.
        let removed = fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()));
        written.and(removed)
    }

    /// The Debian package; `arch` is Debian's word for the machine.
    pub fn deb(&self, version: &str, arch: &str, time: u64) -> Result<Deb> {
        let fields = [
            ("Package", "lb-agent"),
            ("Version", version),
            ("Architecture", arch),
            (
                "Maintainer",
                "The lb-agent authors <lb-agent@users.noreply.github.com>",
            ),
            ("Section", "net"),
            ("Priority", "optional"),
            ("Homepage", "https://github.com/lb-agent/lb-agent"),
            (
                "Description",
                "Service load balancing in the kernel by eBPF\n Balances virtual addresses and node ports of a machine by Kubernetes objects in\n /etc/lb-agent/services, without a cluster. Linux 6.1 or newer.",
            ),
        ];
        Ok(Deb {
            files: self.tree()?,
            conffiles: CONFFILES.map(|path| format!("/{path}")).into(),
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            scripts: Vec::new(),
            time,
        })
    }

    fn said(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new(self.binary)
            .args(args)
            .output()
            .with_context(|| format!("run {}", self.binary.display()))?;
        ensure!(
            output.status.success(),
            "lb-agent {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}

fn read_at(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

//! A Debian package (deb(5)): an ar archive of two tar archives. Made without dpkg, so the same
//! everywhere.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::tree::{Tree, gzip};

/// What a package is made of.
#[derive(Debug, Clone)]
pub struct Deb {
    /// What it installs, by paths relative to `/`.
    pub files: Tree,
    /// Files below /etc that a user's edits stay in, by absolute path.
    pub conffiles: Vec<String>,
    /// The fields of its control file, but `Installed-Size`, in order.
    pub fields: Vec<(String, String)>,
    /// Scripts of the package by their names, such as `postinst`.
    pub scripts: Vec<(String, String)>,
    /// Seconds since 1970, of every file.
    pub time: u64,
}

impl Deb {
    /// The package.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut control = Tree::default();
        let mut fields = String::new();
        for (name, value) in &self.fields {
            writeln!(fields, "{name}: {value}").context("write a field")?;
        }
        writeln!(
            fields,
            "Installed-Size: {}",
            self.files.size().div_ceil(1024)
        )
        .context("write a field")?;
        control.add("control", 0o644, fields);
        if !self.conffiles.is_empty() {
            control.add("conffiles", 0o644, self.conffiles.join("\n") + "\n");
        }
        for (name, script) in &self.scripts {
            control.add(name, 0o755, script.as_str());
        }
        let mut archive = ar::Builder::new(Vec::new());
        for (name, content) in [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&control.tar("./", self.time)?)?),
            ("data.tar.gz", gzip(&self.files.tar("./", self.time)?)?),
        ] {
            let mut header = ar::Header::new(name.as_bytes().to_vec(), content.len() as u64);
            header.set_mode(0o100_644);
            header.set_mtime(self.time);
            archive
                .append(&header, content.as_slice())
                .with_context(|| format!("append {name}"))?;
        }
        archive.into_inner().context("end the package")
    }
}

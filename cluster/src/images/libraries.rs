//! What a program is linked with, so that an image can hold it too.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// Every library, the loader too; none of a static program.
pub(super) fn of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    // It fails for what is static.
    let said = Command::new("ldd")
        .arg(program)
        .output()
        .context("start ldd (package libc-bin)")?;
    Ok(paths(&String::from_utf8_lossy(&said.stdout)))
}

fn paths(said: &str) -> BTreeSet<PathBuf> {
    let words = said.lines().filter_map(|line| {
        let line = line.split(" (").next().unwrap_or(line);
        line.split_whitespace().last()
    });
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_files() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths(said), expected.map(PathBuf::from).into());
        assert!(paths("\tnot a dynamic executable\n").is_empty());
    }
}

//! Runs that the running kernel cannot do: said aloud, and an error where it should be able to.

use std::{collections::BTreeMap, fmt::Write as _, fs, io::Write as _};

use anyhow::{Context as _, Result, ensure};

use crate::packet_table::scene::Need;

/// Rows that were left out on a hook, by what the kernel lacks for it.
#[derive(Default)]
pub(crate) struct LeftOut(BTreeMap<Need, Vec<String>>);

impl LeftOut {
    pub(crate) fn add(&mut self, need: Need, sentence: &str) {
        self.0.entry(need).or_default().push(sentence.to_owned());
    }

    /// Says which rows were left out and why, in lines that `cargo xtask test` shows whether or not
    /// the test passes. An error if this kernel is known to have what it seems to lack.
    pub(crate) fn say(&self, version: (u32, u32)) -> Result<()> {
        let mut lines = String::new();
        for (need, rows) in &self.0 {
            writeln!(lines, "\nnote: {}", need.without(version, rows))?;
        }
        // Past the harness, which would hold it back.
        std::io::stdout().lock().write_all(lines.as_bytes())?;
        self.0
            .keys()
            .try_for_each(|need| need.is_unknown_to(version))
    }
}

impl Need {
    fn without(&self, (major, minor): (u32, u32), rows: &[String]) -> String {
        let Self { what, since } = self;
        format!(
            "{} rows of the packet table were left out on one hook, for Linux {major}.{minor} has no \
             {what} (Linux {}.{}): {}",
            rows.len(),
            since.0,
            since.1,
            rows.join("; ")
        )
    }

    fn is_unknown_to(&self, version: (u32, u32)) -> Result<()> {
        let Self { what, since } = self;
        ensure!(
            version < *since,
            "Linux {}.{} has {what} since {}.{}, but they do not work here",
            version.0,
            version.1,
            since.0,
            since.1
        );
        Ok(())
    }
}

/// Major and minor number of the running kernel.
pub(crate) fn version() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    parse(&release).with_context(|| format!("kernel release {release}"))
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.trim().parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: Need = Need {
        what: "links",
        since: (6, 6),
    };

    #[test]
    fn releases_have_two_numbers() {
        assert_eq!(parse("6.18.44-fc-v595\n"), Some((6, 18)));
        assert_eq!(parse("6.12-rc1"), Some((6, 12)));
        assert_eq!(parse("7.0\n"), Some((7, 0)));
        assert_eq!(parse("six"), None);
    }

    #[test]
    fn what_is_left_out_is_named_and_only_old_kernels_may() {
        let line = NEED.without((6, 1), &["a SYN passes".into(), "a frame".into()]);
        assert_eq!(
            line,
            "2 rows of the packet table were left out on one hook, for Linux 6.1 has no links \
             (Linux 6.6): a SYN passes; a frame"
        );
        assert!(NEED.is_unknown_to((5, 19)).is_ok() && NEED.is_unknown_to((6, 5)).is_ok());
        for known in [(6, 6), (6, 18), (7, 0)] {
            let error = NEED.is_unknown_to(known).unwrap_err().to_string();
            assert!(error.contains("links"), "{error}");
        }
    }
}

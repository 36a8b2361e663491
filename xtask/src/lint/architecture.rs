//! The table "To change X, start at Y" of docs/architecture.md: every path in it must exist, or a
//! reader is sent astray.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

const PAGE: &str = "docs/architecture.md";
const SECTION: &str = "## To change X, start at Y";

/// Fails with every path of the table that leads nowhere.
pub(super) fn check(root: &Path) -> Result<()> {
    let text = fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let paths = paths(&text)?;
    let missing: Vec<&str> = paths
        .into_iter()
        .filter(|path| !root.join(path).exists())
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!(
            "{PAGE} names paths that do not exist: {}",
            missing.join(", ")
        )
    }
}

/// What stands between backticks in the section's rows and looks like a path: relative to the root,
/// without a pattern.
fn paths(text: &str) -> Result<Vec<&str>> {
    let (_, rest) = text
        .split_once(SECTION)
        .with_context(|| format!("{PAGE} has no section \"{SECTION}\""))?;
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let paths: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| word.contains('/') && !word.contains(' '))
        .collect();
    if paths.len() < 10 {
        bail!("{PAGE}: only {} paths under \"{SECTION}\"", paths.len());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn every_start_at_row_leads_somewhere() {
        check(&root().unwrap()).unwrap();
    }

    #[test]
    fn a_row_that_leads_nowhere_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        let good = "| something | `docs/architecture.md`, by `cargo x/y z` |\n".repeat(10);
        let page = format!(
            "# A\n\n{SECTION}\n{good}| a metric | `observe/gone.rs` |\n\n## More\n| `not/this` |"
        );
        fs::write(dir.path().join(PAGE), page).unwrap();
        let error = check(dir.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "docs/architecture.md names paths that do not exist: observe/gone.rs"
        );
    }

    #[test]
    fn a_page_without_the_table_is_an_error() {
        assert!(paths("# Architecture").is_err());
        assert!(paths(&format!("{SECTION}\n| a | `b/c` |")).is_err());
    }
}

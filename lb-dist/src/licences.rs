//! One text with the licences of everything that is linked: MIT, BSD and Apache-2.0 ask that it
//! goes along.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::components::Component;

/// How such files are named.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// Each text once, below the names of the crates that have it.
pub fn text(components: &[Component]) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::from("lb-agent contains these crates:\n\n");
    for component in components {
        let Component {
            name,
            version,
            licence,
            ..
        } = component;
        writeln!(list, "{name} {version}: {licence}").context("write the list")?;
        for text in files(&component.dir)? {
            texts
                .entry(text)
                .or_default()
                .push(format!("{name} {version}"));
        }
    }
    let mut blocks: Vec<(String, String)> = texts
        .into_iter()
        .map(|(text, names)| (names.join(", "), text))
        .collect();
    blocks.sort();
    for (names, text) in blocks {
        let rule = "-".repeat(72);
        writeln!(
            list,
            "
{rule}
{names}

{}",
            text.trim_end()
        )
        .context("write a text")?;
    }
    Ok(list)
}

fn files(dir: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if NAMES.iter().any(|start| name.starts_with(start)) && entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            texts.push(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_two_crates_share_stands_there_once() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut all = Vec::new();
        for name in ["one", "two"] {
            let dir = dir.path().join(name);
            fs::create_dir(&dir)?;
            fs::write(dir.join("LICENSE-MIT"), "Permission is hereby granted")?;
            all.push(Component {
                name: name.into(),
                version: "1.0.0".into(),
                licence: "MIT".into(),
                checksum: String::new(),
                dir,
            });
        }
        let text = text(&all)?;
        assert_eq!(text.matches("Permission").count(), 1);
        assert!(text.contains("one 1.0.0, two 1.0.0"), "{text}");
        Ok(())
    }
}

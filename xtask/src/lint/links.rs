//! Links between the pages: each must lead to a file, and its anchor to a heading of that page.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Pages, and folders of pages.
const PAGES: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "examples",
    "helm",
];

/// Fails with every link that leads nowhere.
pub(super) fn check(root: &Path) -> Result<()> {
    let mut pages = Vec::new();
    for name in PAGES {
        find(&root.join(name), &mut pages)?;
    }
    let mut anchors = BTreeMap::new();
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| page.display().to_string())?;
        for link in links(&text) {
            if !leads_somewhere(page, link, &mut anchors)? {
                broken.push(format!("{}: {link}", page.strip_prefix(root)?.display()));
            }
        }
    }
    ensure!(!pages.is_empty(), "there are no pages");
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("links that lead nowhere:\n{}", broken.join("\n"))
    }
}

/// Pages at and below a path that exists.
fn find(path: &Path, pages: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            find(&entry?.path(), pages)?;
        }
    } else if path.extension().is_some_and(|end| end == "md") && path.exists() {
        pages.push(path.to_owned());
    }
    Ok(())
}

/// Lines of a page that are prose.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Destinations of `[words](destination)` that are in this repository.
fn links(text: &str) -> Vec<&str> {
    let found = prose(text).flat_map(|line| line.split("](").skip(1));
    let found = found.filter_map(|rest| rest.split([')', ' ']).next());
    found.filter(|link| !link.contains("://")).collect()
}

fn leads_somewhere(
    page: &Path,
    link: &str,
    anchors: &mut BTreeMap<PathBuf, Vec<String>>,
) -> Result<bool> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let to = match path {
        "" => page.to_owned(),
        path => page.parent().context("a folder")?.join(path),
    };
    if anchor.is_empty() || !to.exists() {
        return Ok(to.exists());
    }
    if !anchors.contains_key(&to) {
        let text = fs::read_to_string(&to).with_context(|| to.display().to_string())?;
        anchors.insert(to.clone(), anchors_of(&text));
    }
    Ok(anchors[&to].iter().any(|known| known == anchor))
}

/// The anchors of a page: those of its headings, as GitHub makes them, and those that it names.
fn anchors_of(text: &str) -> Vec<String> {
    let named = text.split("<a id=\"").skip(1);
    let named = named.filter_map(|rest| rest.split('"').next());
    let mut all: Vec<String> = named.map(str::to_owned).collect();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let known = all.iter().filter(|other| **other == slug).count();
        all.push(match known {
            0 => slug,
            n => format!("{slug}-{n}"),
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn every_link_leads_somewhere() {
        check(&root().unwrap()).unwrap();
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        let page = "# A\n[a](#only-udp-such-as-dns) [b](b.md#x) [c](gone.md) [d](https://x.y/z)\n```\n# no heading [e](gone.md)\n```\n## Only UDP, such as `DNS`\n[f](#no-heading) [g](#named) <a id=\"named\"></a>\n";
        fs::write(dir.path().join("docs/a.md"), page).unwrap();
        fs::write(dir.path().join("docs/b.md"), "# X\n").unwrap();
        let error = check(dir.path()).unwrap_err().to_string();
        assert_eq!(
            error,
            "links that lead nowhere:\ndocs/a.md: gone.md\ndocs/a.md: #no-heading"
        );
    }
}

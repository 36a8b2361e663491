//! The image that pods of Kubernetes' suite run, of the programs that its own Dockerfile installs
//! and that specs call.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use testbed::cluster::tool;

use super::archive::Archive;

/// As Kubernetes 1.37 names it (test/utils/image/manifest.go), and the one that DNS specs ask.
const TAGS: [&str; 2] = [
    "registry.k8s.io/e2e-test-images/agnhost:2.66.1",
    "registry.k8s.io/e2e-test-images/glibc-dns-testing:2.1.1",
];
/// Paths below `bin/`, and what stands there. Specs ask nc for what busybox' one does not know, and
/// a shell of busybox takes its own.
const RENAMED: [(&str, &str); 2] = [("sh", "dash"), ("nc", "nc.openbsd")];
/// What has its own name.
const PROGRAMS: [&str; 22] = [
    "cat", "curl", "date", "dig", "echo", "getent", "grep", "head", "hostname", "ip", "jq", "ls",
    "mktemp", "nslookup", "seq", "sleep", "test", "timeout", "tr", "true", "wc", "wget",
];

/// The image, with agnhost itself.
pub(super) fn image() -> Result<Archive> {
    let agnhost = tool("agnhost").context("agnhost is built by `cargo xtask conformance`")?;
    let own = PROGRAMS.iter().map(|name| (*name, *name));
    let all = RENAMED.into_iter().chain(own);
    let found: Vec<(String, PathBuf)> = all
        .map(|(path, name)| Ok((format!("bin/{path}"), tool(name)?)))
        .collect::<Result<_>>()?;
    let programs: Vec<(&str, &Path)> = found
        .iter()
        .map(|(path, program)| (path.as_str(), program.as_path()))
        .chain([("agnhost", agnhost.as_path())])
        .collect();
    let mut image = super::image("agnhost", &programs, &["/agnhost"])?;
    image.arguments = vec!["pause".to_owned()];
    image.tags = TAGS.map(str::to_owned).into();
    Ok(image)
}

//! The images of the cluster, made from programs of this machine: no registry is asked.

mod agnhost;
mod archive;
mod libraries;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use archive::Archive;
use lb_dist::tree::Tree;
use testbed::cluster::tool;

/// The image of lb-agent, for the chart's values.
pub(crate) const AGENT: &str = "localhost/lb-agent";
/// The tag of every image here.
pub(crate) const TAG: &str = "cluster";

/// Programs for pods that somebody has a shell in. It is the sandbox's image, too.
const TOOLS: [&str; 1] = ["curl"];
/// The same, by busybox.
const APPLETS: [&str; 8] = ["sh", "sleep", "cat", "httpd", "ip", "ls", "nslookup", "ps"];
/// Answers HTTP with the name of the pod.
const NAME: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'; cat /etc/hostname\n";

/// Which images a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Images {
    /// Those of its own parts.
    Own,
    /// What specs of Kubernetes' suite ask for, too.
    ForSuite,
}

/// Writes an archive of each image for `ctr images import`; the agent's with this program.
pub(crate) fn write(which: Images, dir: &Path, agent: &Path) -> Result<Vec<PathBuf>> {
    let coredns = tool("coredns")?;
    let mut images = vec![
        image("lb-agent", &[("lb-agent", agent)], &["/lb-agent"])?,
        image("coredns", &[("coredns", &coredns)], &["/coredns"])?,
        toolbox()?,
    ];
    if which == Images::ForSuite {
        images.push(agnhost::image()?);
    }
    let archives = images.iter().zip(1..);
    archives
        .map(|(image, number)| write_one(&dir.join(format!("{number}.tar")), image))
        .collect()
}

fn write_one(path: &Path, image: &Archive) -> Result<PathBuf> {
    let bytes = image.bytes()?;
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(path.to_owned())
}

/// An image of programs, by their paths in it, and the libraries that they are linked with.
fn image(name: &str, programs: &[(&str, &Path)], entrypoint: &[&str]) -> Result<Archive> {
    let mut files = Tree::default();
    for (path, program) in programs {
        add(&mut files, path, program)?;
        for library in libraries::of(program)? {
            let path = library.display().to_string();
            add(&mut files, path.trim_start_matches('/'), &library)?;
        }
    }
    Ok(Archive {
        tags: vec![format!("localhost/{name}:{TAG}")],
        files,
        entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
        arguments: Vec::new(),
    })
}

fn toolbox() -> Result<Archive> {
    let tools = TOOLS.map(|name| Ok((format!("bin/{name}"), tool(name)?)));
    let tools = tools.into_iter().collect::<Result<Vec<_>>>()?;
    let programs: Vec<(&str, &Path)> = tools
        .iter()
        .map(|(path, program)| (path.as_str(), program.as_path()))
        .collect();
    let mut image = image("toolbox", &programs, &["/bin/sleep", "2147483647"])?;
    let busybox = tool("busybox")?;
    for name in APPLETS {
        add(&mut image.files, &format!("bin/{name}"), &busybox)?;
    }
    image.files.add("www/cgi-bin/name", 0o755, NAME);
    Ok(image)
}

fn add(files: &mut Tree, path: &str, from: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    files.add(path, 0o755, content);
    Ok(())
}

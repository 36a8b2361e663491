//! The images of the cluster, made from programs of this machine: no registry is asked.

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

/// Writes an archive of each image for `ctr images import`; the agent's with this program.
pub(crate) fn write(dir: &Path, agent: &Path) -> Result<Vec<PathBuf>> {
    let coredns = tool("coredns")?;
    [
        image("lb-agent", &[("lb-agent", agent)], &["/lb-agent"])?,
        image("coredns", &[("coredns", &coredns)], &["/coredns"])?,
        toolbox()?,
    ]
    .into_iter()
    .map(|image| write_one(dir, &image))
    .collect()
}

fn write_one(dir: &Path, image: &Archive) -> Result<PathBuf> {
    let path = dir.join(format!("{}.tar", image.name));
    let bytes = image.bytes()?;
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
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
        name: name.to_owned(),
        files,
        entrypoint: entrypoint.iter().map(|&word| word.to_owned()).collect(),
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

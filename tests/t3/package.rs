//! The Debian package, installed by dpkg below a directory of its own, and its unit's command run
//! on a node: Services from `/etc/lb-agent/services`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use lb_dist::package::Sources;
use testbed::{
    agent::{self, CHANGE},
    lan::{Lan, Offloads},
    node::{Node, PodNetwork},
    poll,
    probe::Kind,
};

fn dpkg(root: &Path, args: &[&str]) -> Result<String> {
    let done = Command::new("dpkg")
        .arg(format!("--root={}", root.display()))
        .args(args)
        .output()
        .context("start dpkg")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    ensure!(done.status.success(), "dpkg {}: {said}", args.join(" "));
    Ok(said)
}

/// The package of the agent under test, twice the same.
fn package(dir: &Path, version: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Without the debug information, as it is shipped.
    let binary = dir.join("lb-agent.stripped");
    let stripped = Command::new("objcopy")
        .arg("--strip-all")
        .args([&agent::binary()?, &binary])
        .output()
        .context("start objcopy (package binutils)")?;
    ensure!(stripped.status.success(), "objcopy: {stripped:?}");
    let sources = Sources {
        root: &root,
        binary: &binary,
        licences: "licences",
    };
    let bytes = sources.deb(version, "amd64", 1_700_000_000)?.bytes()?;
    ensure!(
        bytes == sources.deb(version, "amd64", 1_700_000_000)?.bytes()?,
        "two packages of one program differ"
    );
    let file = dir.join(format!("lb-agent_{version}_amd64.deb"));
    fs::write(&file, bytes)?;
    Ok(file)
}

/// The words of the unit's `ExecStart`, with what is installed below the directory taken from there.
fn exec_start(root: &Path) -> Result<Vec<String>> {
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/lb-agent.service"))?;
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let words = line.context("no ExecStart")?.split(' ').map(|word| {
        match word.strip_prefix('/').map(|path| root.join(path)) {
            Some(path) if path.exists() => path.display().to_string(),
            _ => word.to_owned(),
        }
    });
    Ok(words.collect())
}

#[test]
fn the_package_is_installed_runs_and_is_purged() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    for (name, port) in [
        ("web-1", 8080),
        ("web-2", 8080),
        ("dns-1", 5353),
        ("client", 9),
    ] {
        node.add_pod(name)?.serve(port)?;
    }
    let root = node.files().join("root");
    fs::create_dir_all(root.join("var/lib/dpkg/updates"))?;
    fs::create_dir_all(root.join("var/lib/dpkg/info"))?;
    fs::write(root.join("var/lib/dpkg/status"), "")?;
    let file = package(node.files(), "0.1.0")?;
    let file = file.display().to_string();
    dpkg(&root, &["--force-architecture", "-i", &file])?;
    let listed = dpkg(&root, &["-L", "lb-agent"])?;
    for path in [
        "/usr/bin/lb-agent",
        "/usr/share/man/man1/lb-agent.1.gz",
        "/usr/share/bash-completion/completions/lb-agent",
        "/usr/share/doc/lb-agent/copyright",
    ] {
        ensure!(listed.lines().any(|line| line == path), "{path}: {listed}");
    }

    // As an administrator: the examples, with addresses of servers, and settings.
    for name in ["node.yaml", "web.yaml", "dns.yaml"] {
        let example = root.join("usr/share/doc/lb-agent/examples").join(name);
        let mut text = fs::read_to_string(&example)?;
        for (index, pod) in node.pods().iter().enumerate().take(3) {
            text = text.replace(
                &format!("192.0.2.1{}", index + 1),
                &pod.addr().v4.to_string(),
            );
        }
        fs::write(root.join("etc/lb-agent/services").join(name), text)?;
    }
    let settings = root.join("etc/default/lb-agent");
    let set = format!(
        "LB_AGENT_NODE_NAME=standalone\nLB_AGENT_BPF_DIR={}\nLB_AGENT_CGROUP={}\nLB_AGENT_STATE_DIR={}\n",
        node.bpf_dir().display(),
        node.root_cgroup().path().display(),
        node.files().join("state").display()
    );
    fs::write(&settings, &set)?;
    let mut words = vec!["env".to_owned()];
    words.extend(set.lines().map(str::to_owned));
    words.extend(exec_start(&root)?);
    ensure!(
        words
            .iter()
            .any(|word| word.ends_with("root/usr/bin/lb-agent")),
        "{words:?}"
    );
    let agent = node.spawn(&words, &node.files().join("service.log"))?;
    let web = "10.96.0.80:80".parse()?;
    let answered = poll::until_true(3 * CHANGE, "the Service of /etc/lb-agent answers", || {
        Ok(node.pod(3).ask(Kind::Tcp, web).is_ok())
    });
    answered.with_context(|| agent.said().unwrap_or_default())?;
    agent.signal(nix::sys::signal::Signal::SIGTERM)?;

    // An upgrade keeps the settings, a purge leaves nothing of the package.
    let newer = package(node.files(), "0.1.1")?.display().to_string();
    dpkg(
        &root,
        &["--force-architecture", "--force-confold", "-i", &newer],
    )?;
    assert_eq!(fs::read_to_string(&settings)?, set);
    dpkg(&root, &["-P", "lb-agent"])?;
    for path in [
        "usr/bin/lb-agent",
        "etc/default/lb-agent",
        "usr/share/doc/lb-agent",
    ] {
        ensure!(!root.join(path).exists(), "{path} is left");
    }
    Ok(())
}

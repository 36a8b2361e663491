//! The way of a process into a network namespace and a cgroup, before it becomes the program it is
//! to be.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

/// Where a process is to run; each left out stays as it is.
#[derive(Debug, Clone, Default, Args)]
pub struct Sandbox {
    /// File of a network namespace.
    #[arg(long)]
    pub netns: Option<PathBuf>,
    /// Directory of a cgroup.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// Seen as `/etc/resolv.conf` by this process alone.
    #[arg(long)]
    pub resolv_conf: Option<PathBuf>,
}

impl Sandbox {
    /// As arguments of the helper binary.
    #[must_use]
    pub fn to_args(&self) -> Vec<PathBuf> {
        let Self {
            netns,
            cgroup,
            resolv_conf,
        } = self;
        [
            ("--netns", netns),
            ("--cgroup", cgroup),
            ("--resolv-conf", resolv_conf),
        ]
        .into_iter()
        .filter_map(|(flag, path)| Some([PathBuf::from(flag), path.clone()?]))
        .flatten()
        .collect()
    }

    /// Moves the calling process there. To be called before it has a second thread.
    pub fn enter(&self) -> Result<()> {
        let Self {
            netns,
            cgroup,
            resolv_conf,
        } = self;
        if let Some(dir) = cgroup {
            let procs = dir.join("cgroup.procs");
            fs::write(&procs, "0")
                .with_context(|| format!("enter cgroup by {}", procs.display()))?;
        }
        if let Some(path) = netns {
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            setns(file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("enter {}", path.display()))?;
        }
        if let Some(path) = resolv_conf {
            unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)
                .context("make mounts private")?;
            mount(Some(path), "/etc/resolv.conf", none, MsFlags::MS_BIND, none)
                .with_context(|| format!("mount {} on /etc/resolv.conf", path.display()))?;
        }
        Ok(())
    }

    /// Moves there and becomes the program.
    pub fn exec(&self, words: &[String]) -> Result<()> {
        let [program, args @ ..] = words else {
            bail!("no program to run")
        };
        self.enter()?;
        let error: io::Error = Command::new(program).args(args).exec();
        Err(error).with_context(|| format!("start {program}"))
    }
}

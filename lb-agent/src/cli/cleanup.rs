//! `lb-agent cleanup`: nothing of the agent stays on the machine; with `--kube-proxy`, nothing of
//! kube-proxy.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use super::{
    args::Cleanup,
    output::print,
    running,
    state::{kept_files, state_dir},
};
use crate::{
    hooks::cleanup,
    kept, lb0,
    maps::dir::{BpfDir, names},
    names::NameFiles,
    netfilter::{Socket, keeper, masquerade},
    serve::local,
    takeover::{
        connections::Frontends,
        find::Leftovers,
        remove::{self, How},
    },
};

/// Removes the agent's things, or kube-proxy's.
pub fn run(args: &Cleanup) -> Result<ExitCode> {
    if args.kube_proxy {
        return kube_proxy(args);
    }
    if args.dry_run {
        let lines = would_remove(args)?;
        print(
            &lines
                .into_iter()
                .map(|line| line + "\n")
                .collect::<String>(),
        )?;
    } else {
        agent(args)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What [`agent`] would remove.
fn would_remove(args: &Cleanup) -> Result<Vec<String>> {
    let dir = BpfDir::at(args.pins.dir());
    let state_dir = state_dir(&args.state, &dir);
    let mut lines = Vec::new();
    for (what, folder) in [
        ("program", dir.links()),
        ("program", dir.clsact()),
        ("map", dir.maps()),
    ] {
        let all = names(&folder)?.into_iter();
        lines.extend(all.map(|name| format!("{what} {}", folder.join(name).display())));
    }
    if dir.sockets().exists() {
        lines.push(format!("program {}", dir.sockets().display()));
    }
    if lb0::blocking(lb0::look()).is_ok_and(|found| found.is_some()) {
        lines.push("device lb0, its routes and rules".to_owned());
    }
    if let Ok(mut socket) = Socket::open() {
        if keeper::is_there(&mut socket).unwrap_or(false) {
            lines.push(format!("nftables table inet {}", keeper::TABLE));
        }
        if masquerade::is_there(&mut socket).unwrap_or(false) {
            lines.push(format!("nftables table inet {}", masquerade::TABLE));
        }
    }
    let names = NameFiles::of(&state_dir, dir.root());
    if names.path().exists() {
        lines.push(format!("file {}", names.path().display()));
    }
    for path in state_files(&state_dir, &dir) {
        let there = [kept::unfinished(&path), path];
        let there = there.iter().rev().filter(|path| path.exists());
        lines.extend(there.map(|path| format!("file {}", path.display())));
    }
    if lines.is_empty() {
        lines.push("nothing of the agent is left".to_owned());
    }
    Ok(lines)
}

/// Every file of the agent in its state directory, but for the folder of names.
fn state_files(state_dir: &Path, dir: &BpfDir) -> Vec<PathBuf> {
    let mut all = kept_files(state_dir, dir);
    all.push(local::path(state_dir));
    all
}

/// Removes programs, links, maps, the device `lb0` and what is kept on disk. Fails while an agent
/// runs.
fn agent(args: &Cleanup) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let state_dir = state_dir(&args.state, &dir);
    // Under the lock, which proves that no agent runs; and first, so that nothing is routed to a
    // device without programs.
    cleanup::run_after(&dir, || lb0::blocking(lb0::remove()))?;
    // A process that may not use netfilter cannot have created the tables.
    if let Ok(mut socket) = Socket::open() {
        if keeper::is_there(&mut socket).unwrap_or(false) {
            keeper::remove(&mut socket)
                .with_context(|| format!("remove the nftables table inet {}", keeper::TABLE))?;
        }
        if masquerade::is_there(&mut socket).unwrap_or(false) {
            masquerade::remove(&mut socket)
                .with_context(|| format!("remove the nftables table inet {}", masquerade::TABLE))?;
        }
    }
    NameFiles::of(&state_dir, dir.root()).remove()?;
    for path in state_files(&state_dir, &dir) {
        kept::remove(&path)?;
    }
    match fs::remove_dir(&state_dir) {
        // The directory may hold files of other software.
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(e).with_context(|| format!("remove {}", state_dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes kube-proxy's leftovers, and prints each.
fn kube_proxy(args: &Cleanup) -> Result<ExitCode> {
    let dir = args.pins.dir();
    let frontends = match Frontends::read(&BpfDir::at(dir)) {
        Ok(frontends) if !frontends.is_empty() || args.force => frontends,
        Err(_) if args.force => Frontends::default(),
        Ok(_) => bail!(
            "{} holds no Service, so none would work without kube-proxy's rules: start lb-agent first, or pass --force",
            dir.display()
        ),
        Err(error) => bail!(
            "cannot verify that lb-agent has taken over from kube-proxy: {error}: start it first, or name its directory with --bpf-dir, or pass --force"
        ),
    };
    if !args.force
        && !args.dry_run
        && let Some(how) = running::kube_proxy()
    {
        bail!(
            "kube-proxy runs here ({how}) and would write its rules again: stop it first, or pass --force"
        );
    }
    let how = if args.dry_run {
        How::DryRun
    } else {
        How::Remove
    };
    let left = Leftovers::find(&frontends)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let report = runtime.block_on(remove::run(&left, &frontends, how))?;
    if report.lines.is_empty() {
        print("nothing of kube-proxy is left\n")?;
    } else {
        print(&(report.lines.join("\n") + "\n"))?;
    }
    if report.incomplete && how == How::Remove {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

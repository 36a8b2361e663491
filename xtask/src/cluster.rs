//! `cargo xtask cluster` and `cargo xtask conformance`: everything before the cluster's own program starts.

use std::{ffi::OsString, iter, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{
    build::become_program,
    cargo::target_dir,
    setup::{self, Needs},
};

const PROGRAM: &str = "lb-cluster";

/// What is to be done with it.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Make it, and leave it running: `--nodes 3`, `--proxy kube-proxy`
    Up {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Make one, ask its DNS, a cluster IP and a node port, run the chart's own test, and remove it
    Check {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Remove it, after a crash too
    Down,
    /// A shell with kubectl, helm and KUBECONFIG on a machine beside the nodes, or one command:
    /// `shell -- kubectl get pods -A`
    Shell {
        /// On this node instead, such as node-1
        #[arg(long)]
        node: Option<OsString>,
        /// The command
        #[arg(last = true)]
        words: Vec<OsString>,
    },
}

impl What {
    /// As the cluster's program reads it.
    fn words(self) -> Vec<OsString> {
        let mut words = Vec::new();
        match self {
            Self::Up { args } => {
                words.push("up".into());
                words.extend(args);
            }
            Self::Check { args } => {
                words.push("check".into());
                words.extend(args);
            }
            Self::Down => words.push("down".into()),
            Self::Shell { node, words: rest } => {
                words.push("shell".into());
                if let Some(node) = node {
                    words.extend(["--node".into(), node]);
                }
                words.push("--".into());
                words.extend(rest);
            }
        }
        words
    }
}

/// Becomes the cluster's program.
pub(crate) fn run(what: What) -> Result<()> {
    let makes_one = matches!(what, What::Up { .. } | What::Check { .. });
    let built = target_dir()?.join("release").join(PROGRAM);
    let words = what.words();
    if makes_one || !built.is_file() {
        let nodes = Needs {
            nodes: true,
            ..Needs::default()
        };
        return become_program(PROGRAM, nodes, &words);
    }
    // The program that made it; what is being edited need not compile.
    let ready = setup::ensure(Needs {
        machine: true,
        ..Needs::default()
    })?;
    let mut command = ready.as_root(&built, &ready.environment(None));
    Err(command.args(words).exec()).with_context(|| format!("start {}", built.display()))
}

/// Runs specs of Kubernetes' own suite on a cluster that is made for them.
pub(crate) fn conformance(args: Vec<OsString>) -> Result<()> {
    let suite = Needs {
        nodes: true,
        suite: true,
        ..Needs::default()
    };
    let words: Vec<OsString> = iter::once("conformance".into()).chain(args).collect();
    become_program(PROGRAM, suite, &words)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(subcommand)]
        what: What,
    }

    fn passed_on(typed: &[&str]) -> Vec<OsString> {
        let typed = [&["cluster"], typed].concat();
        Typed::try_parse_from(typed).unwrap().what.words()
    }

    #[test]
    fn what_is_typed_reaches_the_program_as_it_was_typed() {
        for typed in [
            &["up", "--nodes", "3", "--proxy", "kube-proxy"][..],
            &["check", "--nodes=3"],
            &["down"],
            &["shell", "--node", "node-1", "--", "sh", "-c", "ls --all"],
            &["shell", "--", "kubectl", "get", "pods", "-A"],
        ] {
            assert_eq!(passed_on(typed), typed);
        }
        assert_eq!(passed_on(&["shell"]), ["shell", "--"]);
    }
}

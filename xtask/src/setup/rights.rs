//! The question whether we are root, and how to become it. Never asks for a password: a verb must
//! not stop halfway for one.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
};

/// By what means something can be done as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// We are root.
    Root,
    /// `sudo` works without a password.
    Sudo,
    /// Neither: the caller's own rights.
    User,
}

/// Variables of the caller that mean something to a test or a demo, and that sudo would drop.
const KEPT: [&str; 12] = [
    "CI",
    "LB_FUZZ_PACKETS",
    "LB_FUZZ_SEED",
    "LB_REFEREE_CLUSTERS",
    "LB_REFEREE_SEED",
    "LB_SOAK_MINUTES",
    "LB_TEST_THREADS",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TERM",
    "UPDATE",
];

impl Rights {
    pub(super) fn find() -> Self {
        if nix::unistd::geteuid().is_root() {
            return Self::Root;
        }
        let quiet_sudo = Command::new("sudo")
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if quiet_sudo.is_ok_and(|status| status.success()) {
            Self::Sudo
        } else {
            Self::User
        }
    }

    /// A command that runs as root where that is possible, else as the caller.
    pub(super) fn command(self, program: &Path, environment: &[(&str, OsString)]) -> Command {
        match self {
            Self::Root | Self::User => {
                let mut command = Command::new(program);
                command.envs(environment.iter().map(|(name, value)| (name, value)));
                command
            }
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                let kept = KEPT
                    .iter()
                    .filter_map(|name| Some((*name, env::var_os(name)?)));
                for (name, value) in kept.chain(environment.iter().cloned()) {
                    let mut assignment = OsString::from(name);
                    assignment.push("=");
                    assignment.push(value);
                    command.arg(assignment);
                }
                command.arg(program);
                command
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_hands_the_variables_over_by_name() {
        let environment = [("LB_TOOLS", OsString::from("/a:/b"))];
        let command = Rights::Sudo.command(Path::new("/t/demo"), &environment);
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        assert_eq!(args[..2], ["-n", "env"]);
        assert_eq!(args[args.len() - 2..], ["LB_TOOLS=/a:/b", "/t/demo"]);
    }
}

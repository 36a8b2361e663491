//! A running guest: QEMU's command line, and how a guest ended by what its console said.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{kernel::Kernel, payload::Payload};
use crate::step::{Step, minutes};

/// How the last line of a guest begins; see init.sh.
const ENDED: &str = "lb-guest: ended with ";
/// How the line before what the script says begins.
const BEGINS: &str = "lb-guest: begins on ";
/// MiB; its first filesystem is in it.
const MEMORY: &str = "4096";
/// A kernel that breaks ends the guest. Its tests of its own ciphers are left out: emulated, one of
/// them may hang.
const KERNEL_LINE: &str = "console=ttyS0 loglevel=4 panic=-1 oops=panic mitigations=off nokaslr \
     random.trust_cpu=on cryptomgr.notests";

/// What came of a guest.
pub(crate) struct Ended {
    /// Of the script that it ran.
    pub(crate) status: i32,
    /// Everything on its console.
    pub(crate) said: String,
}

/// What time is in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// That of this machine, with two CPUs that run side by side.
    Real,
    /// A nanosecond for each instruction of the one CPU: whatever else this machine does changes no
    /// measurement.
    Instructions,
}

impl Clock {
    /// How the guest's kernel tells the time. On a busy machine it would mistake the speed of its
    /// CPU's own clock, but that one costs no look at an emulated device.
    const fn source(self) -> &'static str {
        match self {
            Self::Real => "clocksource=hpet",
            Self::Instructions => "tsc=reliable clocksource=tsc",
        }
    }

    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Real => &["-accel", "tcg,thread=multi", "-smp", "2"],
            Self::Instructions => &[
                "-accel",
                "tcg,thread=single",
                "-smp",
                "1",
                "-icount",
                "shift=0,sleep=off",
            ],
        }
    }
}

/// How it is run.
pub(crate) struct Run<'a> {
    /// What the script in the guest finds as `/out`, and may write to.
    pub(crate) results: &'a Path,
    pub(crate) deadline: Duration,
    pub(crate) clock: Clock,
    /// A few words of what it said so far.
    pub(crate) progress: fn(&str) -> String,
}

/// Starts it, shows its progress, waits for its end. It has no network device.
pub(crate) fn run(
    kernel: &Kernel,
    payload: Payload,
    script: &str,
    step: &Step,
    run: &Run<'_>,
) -> Result<Ended> {
    let (initrd, folder) = payload.finish(script)?;
    let share = format!(
        "local,path={},mount_tag=out,security_model=none",
        run.results.display()
    );
    // Ends with us, however that comes.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        // With `kvm`, where a machine has it inside another's emulation, guests hang in the
        // firmware.
        .args(run.clock.words())
        .args(["-cpu", "max"])
        .args(["-m", MEMORY, "-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-virtfs", &share])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(&initrd)
        .arg("-append")
        .arg(format!("{KERNEL_LINE} {}", run.clock.source()));
    let status = step.run_with_deadline(&mut command, run.deadline, run.progress)?;
    drop(folder);
    let said = fs::read_to_string(step.log())
        .with_context(|| format!("read {}", step.log().display()))?
        .replace('\r', "");
    let name = kernel.line.name();
    let log = step.log().display();
    let Some(status) = status else {
        bail!(
            "the guest of Linux {name} still ran after {}; its console: {log}",
            minutes(run.deadline)
        );
    };
    match ended(&said) {
        Some(status) => Ok(Ended { status, said }),
        None => bail!("the guest of Linux {name} broke off ({status}); its console: {log}"),
    }
}

/// The last line on the console so far.
pub(crate) fn last_line(said: &str) -> String {
    let line = said.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().to_owned()
}

/// What the script said, without what the kernel and the first process say before and after.
pub(crate) fn words(said: &str) -> &str {
    let after = said.split_once(BEGINS).map_or(said, |(_, after)| after);
    let after = after.split_once('\n').map_or(after, |(_, after)| after);
    after
        .rsplit_once(ENDED)
        .map_or(after, |(before, _)| before)
        .trim_end()
}

fn ended(said: &str) -> Option<i32> {
    said.lines()
        .rev()
        .find_map(|line| line.strip_prefix(ENDED)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_does_not_say_how_it_ended_has_broken_off() {
        assert_eq!(
            ended("x\nlb-guest: ended with 3\n[  9.0] reboot\n"),
            Some(3)
        );
        assert_eq!(ended("x\nKernel panic\n"), None);
        let script = include_str!("init.sh");
        assert!(script.contains(&format!("echo \"{ENDED}$status\"")));
        assert!(script.contains(BEGINS));
    }

    #[test]
    fn words_are_the_scripts_own() {
        let said = "boot\nlb-guest: begins on Linux 6\na\nb\n\nlb-guest: ended with 0\n[ 1] off\n";
        assert_eq!(words(said), "a\nb");
    }
}

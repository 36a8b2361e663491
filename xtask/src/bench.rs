//! `cargo xtask bench`: everything before the benchmark's own program starts, on this machine or in
//! a guest.

use std::{
    ffi::{OsStr, OsString},
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{agent_and, become_program},
    cargo::target_dir,
    setup::{self, Needs},
    step::minutes,
    vm::{self, Clock, Kernel, Line, Run},
};

/// The suite whose peer is in few kernels, and in the guest's.
const IN_GUEST: &str = "ipvs";
/// It takes less than half of this.
const DEADLINE: Duration = Duration::from_mins(15);

/// The suite of the guest, if asked for; then becomes the benchmark for the others, compiled
/// optimised like what it measures.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let Asked {
        guest,
        host,
        for_host,
        for_guest,
    } = Asked::of(args);
    if guest {
        let begun = Instant::now();
        in_guest(&for_guest)?;
        // Its page knows no time: the guest's clock counts instructions.
        eprintln!("{IN_GUEST} took {}", minutes(begun.elapsed()));
    }
    if !host {
        return Ok(());
    }
    become_program("bench", Needs::default(), &for_host)
}

/// What is to be measured where.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    guest: bool,
    host: bool,
    /// Without the guest's suite.
    for_host: Vec<OsString>,
    /// Flags alone.
    for_guest: Vec<OsString>,
}

impl Asked {
    /// No suite at all means each. Values of flags are numbers, so what begins with a letter is a
    /// suite.
    fn of(args: &[OsString]) -> Self {
        let is_suite = |arg: &OsString| {
            let first = arg.to_string_lossy().chars().next();
            first.is_some_and(char::is_alphabetic)
        };
        let is_ours = |arg: &OsString| arg.as_os_str() == OsStr::new(IN_GUEST);
        let asks_help = args.iter().any(|arg| arg == "--help" || arg == "-h");
        let any = args.iter().any(is_suite);
        Self {
            guest: !asks_help && (!any || args.iter().any(is_ours)),
            host: asks_help || !any || args.iter().any(|arg| is_suite(arg) && !is_ours(arg)),
            for_host: args.iter().filter(|arg| !is_ours(arg)).cloned().collect(),
            for_guest: args.iter().filter(|arg| !is_suite(arg)).cloned().collect(),
        }
    }
}

/// Its page, chart and raw values come to where the others' are.
fn in_guest(flags: &[OsString]) -> Result<()> {
    setup::ensure(vm::NEEDS)?;
    let kernel = Kernel::of(Line::Newer)?;
    let (agent, bench) = agent_and("bench")?;
    let folder = target_dir()?.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let flags: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
    let script = format!("LB_BENCH_DIR=/out bench {IN_GUEST} {}", flags.join(" "));
    let ended = vm::in_guest(
        &kernel,
        &agent,
        |payload| payload.built("bench", &bench),
        &script,
        &Run {
            results: &folder,
            deadline: DEADLINE,
            clock: Clock::Instructions,
            progress: vm::last_line,
        },
    )?;
    if ended.status != 0 {
        bail!("in the guest: {}", vm::words(&ended.said));
    }
    let page = folder.join(format!("{IN_GUEST}.md"));
    let text = fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    println!("{text}\nwritten to {}", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &str) -> (bool, bool, String, String) {
        let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        let Asked {
            guest,
            host,
            for_host,
            for_guest,
        } = Asked::of(&args);
        let text = |args: Vec<OsString>| args.join(OsStr::new(" ")).into_string().unwrap();
        (guest, host, text(for_host), text(for_guest))
    }

    #[test]
    fn each_suite_runs_where_its_peer_is() {
        let flags = "--rounds 9".to_owned();
        assert_eq!(
            asked("--rounds 9"),
            (true, true, flags.clone(), flags.clone())
        );
        assert_eq!(
            asked("ipvs --rounds 9"),
            (true, false, flags.clone(), flags)
        );
        let all = asked("socket --quick ipvs");
        assert_eq!(all, (true, true, "socket --quick".into(), "--quick".into()));
        assert!(!asked("socket --quick").0);
        assert_eq!((asked("--help").0, asked("--help").1), (false, true));
    }
}

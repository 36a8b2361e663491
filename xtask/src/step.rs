//! The running of long commands: progress while they run, their words in a log, its tail when they
//! fail.

use std::{
    fs::{self, File},
    io::{IsTerminal as _, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cargo::target_dir;

/// How often a child is looked at: short enough not to be felt at the end of a quick one.
const POLL: Duration = Duration::from_millis(40);
/// How often the progress of a command with a time limit is read.
const LOOK: Duration = Duration::from_secs(1);
/// How often a line is printed where no terminal shows a moving one.
const PLAIN_EVERY: Duration = Duration::from_secs(15);
/// Steps below this leave no trace on the screen.
const NOTEWORTHY: Duration = Duration::from_secs(2);
/// Lines of the log that an error shows: a compiler's first error is usually among them.
const TAIL_LINES: usize = 60;

/// A long command with a name.
pub(crate) struct Step {
    title: String,
    log: PathBuf,
}

impl Step {
    /// `name` is the log's file name; `title` says what is being done, as in "building etcd".
    pub(crate) fn new(name: &str, title: impl Into<String>) -> Result<Self> {
        let dir = target_dir()?.join("xtask");
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self {
            title: title.into(),
            log: dir.join(format!("{name}.log")),
        })
    }

    /// The file with everything that the command said.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Runs the command to its end; a failure shows the log's tail.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let log = self.create_log()?;
        command
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let status = self.watch(command, None, last_line)?;
        self.judge(status)
    }

    /// Like `run`, and returns what the command wrote to its standard output.
    pub(crate) fn run_for_output(&self, command: &mut Command) -> Result<String> {
        let output = self.log.with_extension("out");
        let stdout =
            File::create(&output).with_context(|| format!("create {}", output.display()))?;
        command.stdout(stdout).stderr(self.create_log()?);
        let status = self.watch(command, None, last_line)?;
        self.judge(status)?;
        fs::read_to_string(&output).with_context(|| format!("read {}", output.display()))
    }

    /// Runs the command, both outputs to the log; `progress` makes a few words of what it said so
    /// far.
    ///
    /// Past `deadline` the command is killed, and `None` returned. How it ended is for the caller
    /// to say.
    pub(crate) fn run_with_deadline(
        &self,
        command: &mut Command,
        deadline: Duration,
        progress: fn(&str) -> String,
    ) -> Result<Option<ExitStatus>> {
        self.run_limited(command, Limit::of_all(deadline), progress)
    }

    /// The same, but `patience` begins anew whenever the words of the progress change, until the
    /// command has run for `most` altogether.
    pub(crate) fn run_while_it_moves(
        &self,
        command: &mut Command,
        patience: Duration,
        most: Duration,
        progress: fn(&str) -> String,
    ) -> Result<Option<ExitStatus>> {
        self.run_limited(command, Limit::without_progress(patience, most), progress)
    }

    fn run_limited(
        &self,
        command: &mut Command,
        mut limit: Limit,
        progress: fn(&str) -> String,
    ) -> Result<Option<ExitStatus>> {
        let log = self.create_log()?;
        command
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let status = self.watch(command, Some(&mut limit), progress)?;
        Ok((!limit.reached).then_some(status))
    }

    fn create_log(&self) -> Result<File> {
        File::create(&self.log).with_context(|| format!("create {}", self.log.display()))
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        bail!(
            "{} failed ({status}); the end of {}:\n{}",
            self.title,
            self.log.display(),
            tail(&said, TAIL_LINES)
        )
    }

    fn watch(
        &self,
        command: &mut Command,
        mut limit: Option<&mut Limit>,
        progress: fn(&str) -> String,
    ) -> Result<ExitStatus> {
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{}: start {command:?}", self.title))?;
        let mut screen = Screen::new(&self.title);
        let status = loop {
            if let Some(status) = child.try_wait().context("wait for the command")? {
                break status;
            }
            if let Some(limit) = &mut limit
                && limit.is_reached(Instant::now(), || progress(&end_of(&self.log)))
            {
                kill(&mut child);
            }
            screen.update(start.elapsed(), || progress(&end_of(&self.log)));
            thread::sleep(POLL);
        };
        screen.finish();
        if limit.is_none() && status.success() && start.elapsed() >= NOTEWORTHY {
            eprintln!("{}: done in {}", self.title, minutes(start.elapsed()));
        }
        Ok(status)
    }
}

/// How long a command may run.
struct Limit {
    time: Duration,
    /// Progress begins the time anew, but this long the command may run altogether.
    most: Option<Duration>,
    /// When the first look was.
    start: Option<Instant>,
    /// Since when the progress has been these words.
    last: Option<(Instant, String)>,
    next_look: Option<Instant>,
    reached: bool,
}

impl Limit {
    fn of_all(time: Duration) -> Self {
        Self {
            time,
            most: None,
            start: None,
            last: None,
            next_look: None,
            reached: false,
        }
    }

    fn without_progress(time: Duration, most: Duration) -> Self {
        Self {
            most: Some(most),
            ..Self::of_all(time)
        }
    }

    /// Whether the time is over; reads the progress once a second.
    fn is_reached(&mut self, now: Instant, progress: impl FnOnce() -> String) -> bool {
        if self.next_look.is_none_or(|next| now >= next) {
            self.next_look = Some(now + LOOK);
            let words = progress();
            let moved = |(_, last): &(_, String)| self.most.is_some() && *last != words;
            if self.last.as_ref().is_none_or(moved) {
                self.last = Some((now, words));
            }
        }
        let since = self.last.as_ref().map_or(now, |(since, _)| *since);
        let start = *self.start.get_or_insert(now);
        let all = self
            .most
            .is_some_and(|most| now.duration_since(start) >= most);
        self.reached = self.reached || all || now.duration_since(since) >= self.time;
        self.reached
    }
}

/// A step's line on a terminal, or its lines in a log of CI.
struct Screen {
    title: String,
    bar: Option<ProgressBar>,
    next_plain: Duration,
}

impl Screen {
    fn new(title: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            bar
        });
        Self {
            title: title.to_owned(),
            bar,
            next_plain: PLAIN_EVERY,
        }
    }

    fn update(&mut self, elapsed: Duration, progress: impl Fn() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(progress());
            bar.tick();
        } else if elapsed >= self.next_plain {
            self.next_plain += PLAIN_EVERY;
            eprintln!("{}: {}  {}", self.title, minutes(elapsed), progress());
        }
    }

    fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn kill(child: &mut Child) {
    // It may have ended by itself just now; the next look will tell.
    drop(child.kill());
}

/// `47s`, `2m15s`.
pub(crate) fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    }
}

/// The last kilobytes of a growing file; empty if it cannot be read, since it serves progress only.
fn end_of(log: &Path) -> String {
    const END: u64 = 8192;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// The last line that begins with a word: a compiler's drawings of where it found something do not.
fn last_line(said: &str) -> String {
    let words = |line: &&str| line.starts_with(char::is_alphabetic);
    let mut lines = said.lines().rev().map(str::trim);
    lines.find(words).unwrap_or_default().to_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(minutes(Duration::from_secs(47)), "47s");
        assert_eq!(minutes(Duration::from_secs(135)), "2m15s");
        assert_eq!(minutes(Duration::from_mins(1)), "1m00s");
    }

    #[test]
    fn progress_renews_the_time_of_a_command_that_may_take_long() {
        let mut limit = Limit::without_progress(Duration::from_secs(10), Duration::from_secs(100));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!limit.is_reached(at(0), String::new));
        assert!(!limit.is_reached(at(9), || "a".into()));
        assert!(!limit.is_reached(at(18), || "a".into()));
        assert!(limit.is_reached(at(19), || "a".into()));
        assert!(limit.is_reached(at(20), || "b".into()), "it was killed");
        let mut limit = Limit::of_all(Duration::from_secs(10));
        assert!(!limit.is_reached(at(0), String::new));
        assert!(!limit.is_reached(at(9), || "a".into()));
        assert!(limit.is_reached(at(10), || "b".into()));
    }

    #[test]
    fn a_command_that_always_moves_reaches_its_limit_too() {
        let mut limit = Limit::without_progress(Duration::from_secs(10), Duration::from_secs(30));
        let start = Instant::now();
        for seconds in (0..30).step_by(3) {
            let now = start + Duration::from_secs(seconds);
            assert!(!limit.is_reached(now, || seconds.to_string()), "{seconds}");
        }
        assert!(limit.is_reached(start + Duration::from_secs(30), || "30".into()));
    }

    #[test]
    fn the_tail_is_the_end_and_never_more_than_there_is() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
        assert_eq!(tail("", 5), "");
    }

    #[test]
    fn progress_is_the_last_line_that_says_something() {
        assert_eq!(last_line("  Compiling a\n  Compiling b\n\n"), "Compiling b");
        assert_eq!(last_line(""), "");
    }
}

//! A program on a terminal: what it writes there, the keys that it gets, and what the terminal's mode
//! is meanwhile and afterwards.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    num::NonZero,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use vt100::{Parser, Screen};

use crate::{host::Host, poll::until, process};

/// Of the terminal.
const ROWS: NonZero<u16> = NonZero::new(30).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(120).unwrap();

/// Killed with this value.
pub struct OnTerminal {
    child: Child,
    /// The side that a person sits at.
    keyboard: File,
    /// Kept open, so that its mode can be asked for when the program is gone.
    terminal: OwnedFd,
    screen: Parser,
    written: Vec<u8>,
}

impl OnTerminal {
    /// Starts it there, on a terminal of 120 columns and 30 rows, with these variables.
    pub fn spawn<S: AsRef<OsStr>>(host: &Host, words: &[S], env: &[(&str, &str)]) -> Result<Self> {
        let size = Winsize {
            ws_row: ROWS.get(),
            ws_col: COLUMNS.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } =
            openpty(Some(&size), None).context("make a terminal")?;
        let side = || slave.try_clone().context("share the terminal");
        let child = process::command(host.sandbox(), words)?
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(env.iter().copied())
            .stdin(side()?)
            .stdout(side()?)
            .stderr(side()?)
            .spawn()
            .context("start on a terminal")?;
        Ok(Self {
            child,
            keyboard: master.into(),
            terminal: slave,
            screen: Parser::new(ROWS, COLUMNS, 0),
            written: Vec::new(),
        })
    }

    /// Does the terminal hand on whole lines, and show what is typed?
    pub fn is_ordinary(&self) -> Result<bool> {
        let mode = tcgetattr(&self.terminal).context("ask for the terminal's mode")?;
        let ordinary = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        Ok(mode.local_flags.contains(ordinary))
    }

    /// Types this.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard
            .write_all(keys.as_bytes())
            .context("type on the terminal")
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).context("send a signal")
    }

    /// All that it has written until it was looked at last.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// What is on the screen now.
    pub fn screen(&mut self) -> Result<&Screen> {
        let mut part = [0; 4096];
        loop {
            let mut fds = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO)?;
            let events = fds[0].revents();
            if !events.is_some_and(|events| events.contains(PollFlags::POLLIN)) {
                return Ok(self.screen.screen());
            }
            let length = self.keyboard.read(&mut part)?;
            self.screen.process(&part[..length]);
            self.written.extend_from_slice(&part[..length]);
        }
    }

    /// Waits until these words are on the screen.
    pub fn wait_for(&mut self, within: Duration, words: &str) -> Result<()> {
        self.wait_until(within, words, |screen| screen.contents().contains(words))
    }

    /// Waits until the screen is like this.
    pub fn wait_until(
        &mut self,
        within: Duration,
        what: &str,
        is: impl Fn(&Screen) -> bool,
    ) -> Result<()> {
        until(within, &format!("the screen: {what}"), || {
            Ok(is(self.screen()?).then_some(()))
        })
        .with_context(|| self.screen.screen().contents())
    }

    /// Waits for its end.
    pub fn wait_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let status = until(within, "it ends", || {
            // What nobody reads would hold it up.
            self.screen()?;
            Ok(self.child.try_wait()?)
        })?;
        self.screen()?;
        Ok(status)
    }

    /// Waits until it is stopped.
    pub fn wait_stop(&mut self, within: Duration) -> Result<()> {
        let pid = self.pid()?;
        until(within, "it stops", || {
            self.screen()?;
            let how = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG;
            let status = waitid(Id::Pid(pid), how).context("ask whether it is stopped")?;
            Ok(matches!(status, WaitStatus::Stopped(..)).then_some(()))
        })?;
        self.screen().map(drop)
    }

    /// The terminal has the mode and the screen that it had before.
    pub fn is_restored(&mut self) -> Result<()> {
        ensure!(self.is_ordinary()?, "it still takes single keys");
        let screen = self.screen()?;
        ensure!(!screen.alternate_screen(), "it is on the other screen");
        ensure!(!screen.hide_cursor(), "it has no cursor");
        Ok(())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

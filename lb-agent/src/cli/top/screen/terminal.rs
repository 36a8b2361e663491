//! The terminal in its other mode, and back: when it is over, when it fails, when it panics (by the
//! hook that `ratatui` sets), and when a signal ends or stops it, unless that is `SIGKILL` or
//! `SIGSTOP`, which come without a warning.

use std::{
    io::{self, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use ratatui::{
    DefaultTerminal, Frame,
    backend::CrosstermBackend,
    crossterm::{
        execute,
        terminal::{EnterAlternateScreen, enable_raw_mode},
    },
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag,
    low_level::emulate_default_handler,
};

/// Given back with this value.
pub(super) struct Terminal(DefaultTerminal);

impl Terminal {
    /// Takes the keys as they come, and the screen for itself.
    pub(super) fn open() -> Result<Self> {
        ratatui::try_init()
            .inspect_err(|_| ratatui::restore())
            .context("take the terminal")
            .map(Self)
    }

    /// Whatever has changed is written.
    pub(super) fn draw(&mut self, what: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.0.draw(what).context("write to the terminal").map(drop)
    }

    /// Stops with the terminal as it was, and takes it again when somebody has it go on: it is empty
    /// then.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.0.show_cursor().context("give the terminal back")?;
        ratatui::try_restore().context("give the terminal back")?;
        emulate_default_handler(SIGTSTP).context("stop")?;
        self.0 = again().context("take the terminal again")?;
        Ok(())
    }

    /// As it was.
    pub(super) fn close(self) {
        drop(self);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Like `ratatui::try_init`, whose hook for panics is set already. Whoever clears a terminal that
/// `ratatui` has asks it for its cursor, and not all of them answer; a new one is empty.
fn again() -> io::Result<DefaultTerminal> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)?;
    ratatui::Terminal::new(CrosstermBackend::new(stdout()))
}

/// The signals that end or stop it.
pub(super) struct Signals {
    /// The last one that ends it; 0: none.
    end: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Signals {
    /// From now on they are noted.
    pub(super) fn new() -> Result<Self> {
        let (end, stop) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let number = usize::try_from(signal)?;
            flag::register_usize(signal, Arc::clone(&end), number).context("listen for signals")?;
        }
        flag::register(SIGTSTP, Arc::clone(&stop)).context("listen for signals")?;
        Ok(Self { end, stop })
    }

    /// The last one that came and ends it.
    pub(super) fn end(&self) -> Option<i32> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// Has one that stops it come since it was asked?
    pub(super) fn stop(&self) -> bool {
        self.stop.swap(false, Ordering::Relaxed)
    }

    /// Whoever sent a signal is told that it ended the process, if one came.
    pub(super) fn die_by_it(&self) -> Result<()> {
        let Some(signal) = self.end() else {
            return Ok(());
        };
        emulate_default_handler(signal).context("end by a signal")
    }
}

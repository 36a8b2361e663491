//! The terminal in its other mode, and back: when it is over, when it fails, when it panics (by the
//! hook that `ratatui` sets), and when a signal ends it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use ratatui::{DefaultTerminal, Frame};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

/// The signals that end it.
pub(super) struct Signals(Arc<AtomicUsize>);

impl Signals {
    /// From now on they are noted.
    pub(super) fn new() -> Result<Self> {
        let came = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let number = usize::try_from(signal)?;
            signal_hook::flag::register_usize(signal, Arc::clone(&came), number)
                .context("listen for signals")?;
        }
        Ok(Self(came))
    }

    /// The last one that came.
    pub(super) fn any(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => i32::try_from(number).ok(),
        }
    }

    /// Whoever sent a signal is told that it ended the process, if one came.
    pub(super) fn die_by_it(&self) -> Result<()> {
        let Some(signal) = self.any() else {
            return Ok(());
        };
        signal_hook::low_level::emulate_default_handler(signal).context("end by a signal")
    }
}

//! The screen of `top`: looks again and again beside the keyboard, and leaves the terminal as it was
//! (see [`terminal`]).

mod draw;
mod keys;
mod rows;
mod state;
mod terminal;

use std::{
    mem,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::{
    keys::{Step, press},
    state::State,
    terminal::{Signals, Terminal},
};
use super::look::{Look, Seen};
use crate::{cli::args::RateArgs, inventory::rates::SHORTEST};

/// So long may what has been seen, or a signal, wait for the keyboard.
const TICK: Duration = Duration::from_millis(100);

/// What comes of one interval: an error says why nothing is seen.
type Interval = Result<state::Interval>;

/// Goes on until somebody has seen enough. `before` was seen at `at`.
pub(super) fn run(look: Look, before: Seen, at: Instant, args: &RateArgs) -> Result<()> {
    let (send, receive) = mpsc::channel();
    // Both ends of the channel tell the other when they are gone.
    let (ended, has_ended) = mpsc::channel::<()>();
    let interval = args.interval.max(SHORTEST);
    let namespace = args.namespace.clone();
    thread::spawn(move || {
        watch(
            &look,
            before,
            at,
            interval,
            namespace.as_deref(),
            &send,
            &has_ended,
        );
    });
    let signals = Signals::new()?;
    let mut terminal = Terminal::open()?;
    let mut state = State::new(args.sort_by, draw::has_colour());
    let shown = show(&mut terminal, &mut state, &receive, &signals);
    drop(ended);
    terminal.close();
    signals.die_by_it()?;
    shown
}

/// Looks once in each interval, until nobody listens.
fn watch(
    look: &Look,
    mut before: Seen,
    mut at: Instant,
    interval: Duration,
    namespace: Option<&str>,
    send: &Sender<Interval>,
    has_ended: &Receiver<()>,
) {
    while has_ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        // Why names are missing was said before the screen was ours, and would stand across it now.
        let seen = look.now(|_| ()).map(|now| {
            let then = Instant::now();
            let rates = now.since(&before, (then - at).as_secs_f64(), namespace);
            let backends = now.backends.clone();
            (before, at) = (now, then);
            state::Interval { rates, backends }
        });
        if send.send(seen).is_err() {
            return;
        }
    }
}

fn show(
    terminal: &mut Terminal,
    state: &mut State,
    receive: &Receiver<Interval>,
    signals: &Signals,
) -> Result<()> {
    let mut is_outdated = true;
    loop {
        if mem::take(&mut is_outdated) {
            terminal.draw(|frame| draw::draw(frame, state))?;
        }
        if event::poll(TICK)? {
            // A key, or another size.
            is_outdated = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                match press(state, key) {
                    Step::On => {}
                    Step::Stop => terminal.stop()?,
                    Step::End => return Ok(()),
                }
            }
        }
        if signals.end().is_some() {
            return Ok(());
        }
        if signals.stop() {
            terminal.stop()?;
            is_outdated = true;
        }
        loop {
            match receive.try_recv() {
                Ok(seen) => {
                    state.see(seen);
                    is_outdated = true;
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => bail!("nobody looks any more"),
            }
        }
    }
}

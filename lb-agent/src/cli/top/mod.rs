//! `lb-agent top`: what each Service port does now, from two looks at what the programs count.

mod look;
pub(super) mod order;
mod screen;
pub(super) mod table;

use std::{env, io::IsTerminal as _, thread, time::Instant};

use anyhow::Result;

use self::look::{Look, Seen};
use super::{
    args::{Form, Top},
    output::{Reader, write},
    state::state_dir,
};
use crate::{inventory::rates::SHORTEST, maps::dir::BpfDir, names::NameFiles};

/// Clears a terminal and goes to its first line (ECMA-48: ED, CUP).
pub(super) const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Carries the verb out.
pub fn run(args: &Top) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let files = NameFiles::of(&state_dir(&args.state, &dir), dir.root());
    let look = Look::new(dir, files);
    // What is wrong from the start is said where it is read.
    let (before, at) = (
        look.now(|words| eprintln!("lb-agent: {words}"))?,
        Instant::now(),
    );
    if is_screen(args) {
        screen::run(look, before, at, &args.rates)
    } else {
        print(&look, before, at, args)
    }
}

/// Whether somebody sits before it, who may look for longer.
fn is_screen(args: &Top) -> bool {
    let is_wanted = !args.rates.once && args.rates.output == Form::Table;
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    is_wanted && !is_dumb && is_terminal
}

/// One table or document after another.
fn print(look: &Look, mut before: Seen, mut at: Instant, args: &Top) -> Result<()> {
    loop {
        thread::sleep(args.rates.interval.max(SHORTEST));
        let (now, then) = (
            look.now(|words| eprintln!("lb-agent: {words}"))?,
            Instant::now(),
        );
        let seconds = (then - at).as_secs_f64();
        let mut rates = now.since(&before, seconds, args.rates.namespace.as_deref());
        order::sort(&mut rates, args.rates.sort_by);
        let text = match args.rates.output {
            Form::Json => table::json(&rates)?,
            Form::Table => table::text(&rates),
        };
        if write(&text)? == Reader::HasLeft || args.rates.once {
            return Ok(());
        }
        (before, at) = (now, then);
    }
}

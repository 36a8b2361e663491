//! `lb-agent trace`: each decision of the data path as it is made, with names.

mod asked;
mod namespaces;
mod row;
mod text;

use std::{
    io::stdout,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lb_common::trace::Rate;

use self::{namespaces::Namespaces, row::Row};
use super::{
    args::{Form, Trace},
    get::book,
    output::{Reader, write},
    state::state_dir,
};
use crate::{
    logging,
    maps::dir::BpfDir,
    names::{Book, NameFiles},
    trace::{Asked, RENEWED, Tracer},
};

/// Between two looks at what was left out, at the programs and at names.
const TICK: Duration = RENEWED;

/// Carries the verb out.
pub fn run(args: &Trace) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let files = NameFiles::of(&state_dir(&args.state, &dir), dir.root());
    let book = book(&files);
    let asked = asked::asked(args, &book)?;
    let mut session = Session {
        tracer: Tracer::start(&dir, &asked)?,
        namespaces: Namespaces::default(),
        told: Rate::default(),
        is_full_told: false,
        book,
        asked,
    };
    session.admit_namespaces()?;
    if session.asked.clients.is_some() && session.namespaces.is_denied() {
        eprintln!(
            "lb-agent: --client does not show connect, sendmsg and bind: their sockets have no address yet, and network namespaces cannot be looked into (CAP_SYS_ADMIN)"
        );
    }
    session.follow(args, &files)
}

/// A look that goes on.
struct Session {
    asked: Asked,
    tracer: Tracer,
    book: Book,
    namespaces: Namespaces,
    /// What was reported to be left out.
    told: Rate,
    /// Was it reported that network namespaces found no room?
    is_full_told: bool,
}

impl Session {
    fn follow(&mut self, args: &Trace, files: &NameFiles) -> Result<()> {
        let end = args.duration.map(|duration| Instant::now() + duration);
        let has_colour = logging::has_colour(&stdout());
        let (mut shown, mut ticked) = (0_u64, Instant::now());
        if args.output == Form::Table && write(&text::head())? == Reader::HasLeft {
            return Ok(());
        }
        eprintln!("lb-agent: tracing");
        loop {
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return self.tell_left_out();
            }
            if ticked.elapsed() >= TICK {
                ticked = now;
                self.tick(args, files)?;
            }
            let rest = end.map_or(TICK, |end| end - now).min(TICK);
            self.tracer.ring().wait(rest)?;
            while let Some(decision) = self.tracer.ring().next() {
                let row = Row::of(&decision, &self.book, &mut self.namespaces);
                let line = match args.output {
                    Form::Table => text::line(&row, has_colour),
                    Form::Json => serde_json::to_string(&row).context("encode JSON")? + "\n",
                };
                if write(&line)? == Reader::HasLeft {
                    return Ok(());
                }
                shown += 1;
                if args.count == Some(shown) {
                    return self.tell_left_out();
                }
            }
        }
    }

    /// What has to be done again and again.
    fn tick(&mut self, args: &Trace, files: &NameFiles) -> Result<()> {
        self.tell_left_out()?;
        if let Ok(services) = files.load(|_| {}) {
            self.book = Book::new(services);
            // A name that nothing has now stays what it was.
            if let Ok(asked) = asked::asked(args, &self.book)
                && asked != self.asked
            {
                self.tracer.ask(&asked)?;
                self.asked = asked;
            }
        }
        self.admit_namespaces()?;
        if !self.tracer.is_current() {
            bail!("the agent has loaded its programs anew, or they are gone: start trace again");
        }
        self.tracer.renew()
    }

    /// Admits sockets whose namespace has an address of the clients that are asked for.
    fn admit_namespaces(&mut self) -> Result<()> {
        let Some(nets) = &self.asked.clients else {
            return Ok(());
        };
        if !self.asked.hooks.iter().any(|hook| hook.is_socket()) {
            return Ok(());
        }
        self.namespaces.look();
        let wanted = |ip: IpAddr| nets.iter().any(|net| net.contains(ip));
        let left_out = self.tracer.admit_netns(&self.namespaces.with(wanted))?;
        if left_out != 0 && !self.is_full_told {
            eprintln!(
                "lb-agent: connect, sendmsg and bind of {left_out} network namespaces of --client are not shown: lb_tr_netns is full (see --map-capacity of the agent)"
            );
        }
        self.is_full_told = left_out != 0;
        Ok(())
    }

    /// Reports what was left out since it did so last.
    fn tell_left_out(&mut self) -> Result<()> {
        let now = self.tracer.rate()?;
        for (count, why) in [
            (
                now.limited.saturating_sub(self.told.limited),
                "more than --limit a second",
            ),
            (
                now.full.saturating_sub(self.told.full),
                "faster than they are read",
            ),
        ] {
            if count != 0 {
                eprintln!("lb-agent: {count} decisions left out: {why}");
            }
        }
        self.told = now;
        Ok(())
    }
}

//! `top` on a terminal.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use testbed::{
    agent,
    one_node::{OneNode, PORT, WEB_VIP},
    probe::{Family, Kind},
    pty::OnTerminal,
};
use vt100::Screen;

use super::bed;

/// A crowded machine takes its time.
const SOON: Duration = Duration::from_secs(30);

/// On a terminal, looking this often.
fn start(bed: &OneNode, interval: &str, env: &[(&str, &str)]) -> Result<OnTerminal> {
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    // A signal may leave no file behind.
    let without_core = ["sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"];
    let top = [&binary, "top", "--bpf-dir", &dir, "--interval", interval];
    OnTerminal::spawn(&bed.node, &[&without_core[..], &top].concat(), env)
}

fn top(bed: &OneNode, env: &[(&str, &str)]) -> Result<OnTerminal> {
    let mut screen = start(bed, "200ms", env)?;
    screen.wait_for(SOON, "default/web")?;
    ensure!(!screen.is_ordinary()?, "it takes keys");
    Ok(screen)
}

/// These keys end it, and the terminal is as it was.
fn ends_by(mut screen: OnTerminal, keys: &str) -> Result<()> {
    screen.press(keys)?;
    ensure!(screen.wait_end(SOON)?.success());
    screen.is_restored()
}

/// The cells of the first row with these words.
fn row(screen: &Screen, words: &[&str]) -> Option<Vec<String>> {
    let text = screen.contents();
    let mut rows = text.lines().map(|line| line.split_whitespace());
    let found = rows.find(|row| {
        let has = |word: &&str| row.clone().any(|cell| cell == *word);
        words.iter().all(has)
    });
    found.map(|row| row.map(str::to_owned).collect())
}

/// Somebody is connected, by the cell behind so many others.
fn is_active(screen: &Screen, words: &[&str], at: usize) -> bool {
    let row = row(screen, words);
    let cell = row.as_ref().and_then(|row| row.get(at));
    cell.and_then(|cell| cell.parse().ok())
        .is_some_and(|n: u64| n >= 1)
}

#[test]
fn the_screen_lists_services_and_gives_the_terminal_back() -> Result<()> {
    let bed = bed()?;
    let held = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let pod = format!("default/{}", held.ask("who")?.name);
    let web = format!("default/web:tcp-{PORT}");
    let mut screen = top(&bed, &[])?;
    screen.wait_for(SOON, "default/other")?;
    // What is on it is what is open.
    screen.press("/web tcp\r")?;
    screen.wait_for(SOON, "filter: web tcp")?;
    screen.wait_until(SOON, "the connection, and nobody else", |screen| {
        let text = screen.contents();
        let is_alone = !text.contains("default/other") && !text.contains("UDP");
        is_alone && is_active(screen, &[&web, "TCP"], 3)
    })?;
    screen.press("\r")?;
    screen.wait_for(SOON, "BACKEND")?;
    screen.wait_until(SOON, "the pod that is asked", |screen| {
        is_active(screen, &[&pod], 4)
    })?;
    ends_by(screen, "q")?;
    // Control-C is a key there, and no signal.
    ends_by(top(&bed, &[])?, "\u{3}")
}

#[test]
fn nothing_is_written_while_nothing_changes() -> Result<()> {
    let bed = bed()?;
    let mut screen = start(&bed, "3s", &[])?;
    screen.wait_for(SOON, "waiting for the first interval")?;
    screen.wait_for(SOON, "default/web")?;
    // Each time that it is drawn the cursor is hidden.
    let drawn = screen.written().windows(6);
    let drawn = drawn.filter(|part| part == b"\x1b[?25l").count();
    // For the first time, and for what was seen then; a few more on a crowded machine.
    ensure!((2..10).contains(&drawn), "{drawn}");
    ends_by(screen, "q")
}

#[test]
fn signals_end_it_as_they_end_others_and_the_terminal_is_restored() -> Result<()> {
    let bed = bed()?;
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        let mut screen = top(&bed, &[])?;
        screen.signal(signal)?;
        let status = screen.wait_end(SOON)?;
        ensure!(status.signal() == Some(signal as i32), "{signal}: {status}");
        screen.is_restored()?;
    }
    Ok(())
}

#[test]
fn a_stop_gives_the_terminal_back_until_it_goes_on() -> Result<()> {
    let bed = bed()?;
    let mut screen = top(&bed, &[])?;
    // By the signal, and by Ctrl-Z.
    for by_key in [false, true] {
        if by_key {
            screen.press("\u{1a}")?;
        } else {
            screen.signal(Signal::SIGTSTP)?;
        }
        screen.wait_stop(SOON)?;
        screen.is_restored()?;
        ensure!(!screen.screen()?.contents().contains("default/web"));
        screen.signal(Signal::SIGCONT)?;
        screen.wait_for(SOON, "default/web")?;
        screen.wait_for(SOON, "q end")?;
        ensure!(!screen.is_ordinary()?, "it takes keys again");
    }
    ends_by(screen, "q")
}

/// Nothing can be looked at until what comes of this is back.
fn without_pools<T>(bed: &OneNode, meanwhile: impl FnOnce() -> Result<T>) -> Result<T> {
    let (pin, away) = (bed.node.map_pin("lb_pools"), bed.node.map_pin("away"));
    std::fs::rename(&pin, &away)?;
    let result = meanwhile();
    std::fs::rename(&away, &pin)?;
    result
}

#[test]
fn what_cannot_be_read_is_said_and_looked_at_again() -> Result<()> {
    let bed = bed()?;
    let mut screen = top(&bed, &[])?;
    without_pools(&bed, || screen.wait_for(SOON, "lb_pools"))?;
    screen.wait_until(SOON, "it is read again", |screen| {
        !screen.contents().contains("lb_pools")
    })?;
    screen.press("?")?;
    screen.wait_for(SOON, "sort by the next column")?;
    ends_by(screen, "q")
}

#[test]
fn colour_is_not_written_where_it_is_not_wanted() -> Result<()> {
    let bed = bed()?;
    for (env, is_wanted) in [(&[][..], true), (&[("NO_COLOR", "1")], false)] {
        let mut screen = top(&bed, env)?;
        without_pools(&bed, || screen.wait_for(SOON, "lb_pools"))?;
        let cells = screen.screen()?;
        let is_coloured = (0..120).any(|column| {
            let cell = cells.cell(0, column);
            cell.is_some_and(|cell| cell.fgcolor() != vt100::Color::Default)
        });
        ensure!(is_coloured == is_wanted, "{:?}", cells.contents());
        ends_by(screen, "q")?;
    }
    Ok(())
}

#[test]
fn a_terminal_that_can_do_nothing_gets_tables() -> Result<()> {
    let bed = bed()?;
    let mut plain = start(&bed, "200ms", &[("TERM", "dumb")])?;
    plain.wait_until(SOON, "two tables", |screen| {
        screen.contents().matches("RETRANS/S").count() > 1
    })?;
    ensure!(plain.is_ordinary()?);
    ensure!(!plain.screen()?.alternate_screen());
    Ok(())
}

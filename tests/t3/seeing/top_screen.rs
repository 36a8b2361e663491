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

use super::bed;

/// A crowded machine takes its time.
const SOON: Duration = Duration::from_secs(30);
fn top(bed: &OneNode, env: &[(&str, &str)]) -> Result<OnTerminal> {
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let words = [&binary, "top", "--bpf-dir", &dir, "--interval", "200ms"];
    let mut screen = OnTerminal::spawn(&bed.node, &words, env)?;
    screen.wait_for(SOON, "default/web")?;
    ensure!(!screen.is_ordinary()?, "it takes keys");
    Ok(screen)
}

#[test]
fn the_screen_lists_services_and_gives_the_terminal_back() -> Result<()> {
    let bed = bed()?;
    let _held = bed
        .client()
        .connect(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    let mut screen = top(&bed, &[])?;
    // What is on it is what is open: one row has it.
    screen.press("/web tcp\r")?;
    screen.wait_for(SOON, "filter: web tcp")?;
    screen.press("\r")?;
    screen.wait_for(SOON, "BACKEND")?;
    screen.press("q")?;
    ensure!(screen.wait_end(SOON)?.success());
    screen.is_restored()?;
    // Control-C is a key there, and no signal.
    let mut screen = top(&bed, &[])?;
    screen.press("\u{3}")?;
    ensure!(screen.wait_end(SOON)?.success());
    screen.is_restored()
}

#[test]
fn signals_end_it_as_they_end_others_and_the_terminal_is_restored() -> Result<()> {
    let bed = bed()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut screen = top(&bed, &[])?;
        screen.signal(signal)?;
        let status = screen.wait_end(SOON)?;
        ensure!(status.signal() == Some(signal as i32), "{signal}: {status}");
        screen.is_restored()?;
    }
    Ok(())
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
    screen.press("q")?;
    ensure!(screen.wait_end(SOON)?.success());
    screen.is_restored()
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
        screen.press("q")?;
        ensure!(screen.wait_end(SOON)?.success());
    }
    Ok(())
}

#[test]
fn a_terminal_that_can_do_nothing_gets_tables() -> Result<()> {
    let bed = bed()?;
    let binary = agent::binary()?.display().to_string();
    let dir = bed.node.bpf_dir().display().to_string();
    let words = [&binary, "top", "--bpf-dir", &dir, "--interval", "200ms"];
    let mut plain = OnTerminal::spawn(&bed.node, &words, &[("TERM", "dumb")])?;
    plain.wait_until(SOON, "two tables", |screen| {
        screen.contents().matches("RETRANS/S").count() > 1
    })?;
    ensure!(plain.is_ordinary()?);
    ensure!(!plain.screen()?.alternate_screen());
    Ok(())
}

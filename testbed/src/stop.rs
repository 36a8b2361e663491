//! Ctrl-C of the demo and the benchmark: everything is removed at once, whatever they are doing.

use std::{
    io::{self, Write as _},
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

static STOPPING: AtomicBool = AtomicBool::new(false);

/// What a shell reports of a program that ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// From here on SIGINT, SIGTERM and SIGHUP remove everything and end the program.
pub fn on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let mut signals = {
        let _inside = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .into_iter()
        .map(signal)
        .collect::<std::io::Result<Vec<_>>>()
        .context("wait for signals")?
    };
    thread::spawn(move || {
        let waiting = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        runtime.block_on(futures::future::select_all(waiting));
        STOPPING.store(true, Ordering::SeqCst);
        // Nobody may listen any more: that is no reason to leave anything behind.
        let mut stderr = io::stderr();
        let _ = writeln!(stderr, "\nstopping: everything is removed");
        if let Err(error) = crate::sweep::own() {
            let _ = writeln!(
                stderr,
                "error: {error:#}; `cargo xtask clean --keep-target` removes the rest"
            );
        }
        process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Waits for the end if a signal has come.
pub fn park_if_stopping() {
    while STOPPING.load(Ordering::SeqCst) {
        thread::park();
    }
}

//! What becomes of open connections when their backend leaves the Service and lives on: its label
//! was removed, or a database has failed over. A keep-alive client and one like a resolver, under
//! each policy.

mod flows;
mod sockets;

use std::{io, time::Duration};

use anyhow::{Result, ensure};
use testbed::{host::Host, one_node::TARGET, probe::Sock};

/// Which policy a Service asks for.
const POLICY: &str = "lb-agent.io/on-backend-removal";

/// A look for a reset that may not come.
const LOOK: Duration = Duration::from_millis(50);

/// Connections of TCP that this host's servers hold open.
fn open_at(host: &Host) -> Result<usize> {
    let filter = format!("sport = :{TARGET}");
    let said = host.run(&["ss", "-Htn", "state", "established", &filter])?;
    Ok(said.lines().count())
}

/// Was the connection reset, as its owner learns it when it waits for data?
fn is_reset(sock: &Sock) -> Result<bool> {
    match sock.recv_within(LOOK) {
        Err(error) if is_end(&error) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(false),
        other => anyhow::bail!("{other:?} instead of a reset"),
    }
}

pub(crate) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::ECONNRESET)
    )
}

/// All of these are still answered by whom they had.
pub(crate) fn go_on<'a>(held: impl IntoIterator<Item = &'a (Sock, String)>) -> Result<()> {
    for (sock, name) in held {
        let answer = sock.ask("still there?")?;
        ensure!(answer.name == *name, "{answer:?} instead of {name}");
    }
    Ok(())
}

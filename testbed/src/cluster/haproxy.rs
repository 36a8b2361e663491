//! A real haproxy in front of a cluster's nodes, as people run one outside of it: it balances
//! connections and asks each node whether it may send more.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    daemon::{self, Daemon},
    tools,
};
use crate::sandbox::Sandbox;

const START: Duration = Duration::from_secs(30);

/// What it is to do.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Where users come.
    pub listen: SocketAddr,
    /// By name: where connections go.
    pub servers: &'a [(&'a str, SocketAddr)],
    /// The port of each server that is asked.
    pub check_port: u16,
    /// What is asked for there.
    pub check_path: &'a str,
    /// More rules of the check, a line each.
    pub expect: &'a [&'a str],
}

/// Killed when this value goes.
#[derive(Debug)]
pub struct Haproxy {
    process: Daemon,
    socket: PathBuf,
}

/// What it thinks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `UP`, `DOWN`, or on the way from one to the other.
    pub status: String,
    /// How the last check ended: `L7OK`, `L7STS` for a status that was not asked for.
    pub check: String,
    /// The status that was answered.
    pub code: String,
    /// Connections that were sent there.
    pub sessions: u64,
}

impl Haproxy {
    /// Starts it there; it answers on its socket when this returns.
    pub fn start(name: &str, dir: &Path, sandbox: &Sandbox, plan: &Plan<'_>) -> Result<Self> {
        let (socket, file) = (
            dir.join(format!("{name}.sock")),
            dir.join(format!("{name}.cfg")),
        );
        fs::write(&file, config(plan, &socket))
            .with_context(|| format!("write {}", file.display()))?;
        let mut words = daemon::words(tools::find("haproxy")?, &["-db", "-f"]);
        words.push(file.into());
        let process = Daemon::start(name, &words, sandbox, dir)?;
        let mut haproxy = Self { process, socket };
        let socket = haproxy.socket.clone();
        haproxy
            .process
            .until(START, "haproxy answers", || ask(&socket).map(Some))?;
        Ok(haproxy)
    }

    /// What it thinks of this server now.
    pub fn verdict(&mut self, server: &str) -> Result<Verdict> {
        self.process.check()?;
        let text = ask(&self.socket)?;
        let mut lines = text.lines();
        let names = lines.next().context("no statistics")?;
        let names: Vec<&str> = names.trim_start_matches("# ").split(',').collect();
        let row = lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .find(|row| row.get(1) == Some(&server))
            .with_context(|| format!("haproxy knows no {server}"))?;
        let field = |name: &str| -> Result<String> {
            let at = names.iter().position(|known| *known == name);
            let value = at.and_then(|at| row.get(at));
            Ok(value
                .with_context(|| format!("no {name} in the statistics"))?
                .trim_start_matches("* ")
                .to_owned())
        };
        Ok(Verdict {
            status: field("status")?,
            check: field("check_status")?,
            code: field("check_code")?,
            sessions: field("stot")?.parse().context("a number of sessions")?,
        })
    }
}

/// A failed connection is the user's: nothing is tried again, elsewhere or here.
fn config(plan: &Plan<'_>, socket: &Path) -> String {
    let Plan {
        listen,
        servers,
        check_port,
        check_path,
        expect,
    } = plan;
    let mut text = format!(
        "global\n  stats socket {socket} mode 600\n\
         defaults\n  mode tcp\n  retries 0\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
         frontend users\n  bind {listen}\n  default_backend nodes\n\
         backend nodes\n  balance roundrobin\n  option httpchk GET {check_path}\n  http-check expect status 200\n",
        socket = socket.display()
    );
    let rules = expect.iter().map(|rule| format!("  {rule}\n"));
    text.extend(rules);
    text.push_str("  default-server inter 200ms fall 2 rise 2\n");
    let servers = servers.iter();
    text.extend(
        servers.map(|(name, at)| format!("  server {name} {at} check port {check_port}\n")),
    );
    text
}

fn ask(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket).context("dial haproxy's socket")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"show stat\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

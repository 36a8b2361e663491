//! A running agent: started on a node as a user would, waited for, asked through its own command
//! line and endpoints.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{node::Node, poll, process::Process};

/// A first start loads and verifies every program, on a machine that may be busy.
const START: Duration = Duration::from_mins(1);
/// How long a change may take to be seen.
pub const CHANGE: Duration = Duration::from_secs(15);
/// A stop on SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// Lines of the log that a failed test shows.
const TAIL: usize = 60;

/// Where the agent serves /livez, /readyz and /healthz, in the node's namespace.
pub const HEALTH: &str = "127.0.0.1:10256";
/// Where it serves /metrics.
pub const METRICS: &str = "127.0.0.1:10249";

/// The binary under test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LB_AGENT_BIN") {
        return Ok(path.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .into_iter()
        .map(|profile| target.join(profile).join("lb-agent"))
        .find(|path| path.is_file())
        .context("no lb-agent is built: cargo xtask build, or set LB_AGENT_BIN")
}

/// The older agent that upgrades are tested from: its maps have names that this version no longer
/// uses.
pub fn previous() -> Result<PathBuf> {
    env::var_os("LB_PREVIOUS_AGENT_BIN")
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .context("no older lb-agent is built: run this by `cargo xtask test`, or set LB_PREVIOUS_AGENT_BIN")
}

/// Killed with this value; what it wrote to the kernel stays until the node goes.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    quiet: bool,
}

/// How to start one.
#[derive(Debug, Clone, Default)]
pub struct Start {
    words: Vec<String>,
    args: Vec<String>,
    binary: Option<PathBuf>,
    source: Option<Vec<String>>,
}

impl Start {
    /// With the node's manifests and nothing else said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// XDP in front of tc on this device.
    #[must_use]
    pub fn xdp(self, device: &str) -> Self {
        self.args(&["--attach-xdp", device, "--xdp-mode", "native"])
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Words in front of the binary, such as `setpriv …`.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.words = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Another binary.
    #[must_use]
    pub fn binary(mut self, binary: &Path) -> Self {
        self.binary = Some(binary.to_owned());
        self
    }

    /// Instead of the node's manifests, such as `--kubeconfig FILE`.
    #[must_use]
    pub fn source(mut self, args: &[&str]) -> Self {
        self.source = Some(args.iter().map(|&arg| arg.to_owned()).collect());
        self
    }

    /// Starts it and waits until it says that it is ready.
    pub fn on(self, node: &Node) -> Result<Agent> {
        let mut agent = self.without_waiting(node)?;
        agent.wait_ready(node)?;
        Ok(agent)
    }

    /// The whole command line.
    pub fn line(&self, node: &Node) -> Result<Vec<String>> {
        let Self {
            words,
            args,
            binary: other,
            source,
        } = self;
        let text = |path: &Path| path.display().to_string();
        let mut line = words.clone();
        line.push(text(&other.clone().map_or_else(binary, Ok)?));
        line.extend(
            source
                .clone()
                .unwrap_or_else(|| vec!["--manifests".into(), text(&node.manifests())]),
        );
        for (flag, value) in [
            ("--node-name", node.name().to_owned()),
            ("--bpf-dir", text(node.bpf_dir())),
            ("--cgroup", text(node.root_cgroup().path())),
            ("--state-dir", text(&node.files().join("state"))),
            ("--health-bind-address", HEALTH.to_owned()),
            ("--metrics-bind-address", METRICS.to_owned()),
        ] {
            // An argument of the test wins.
            if args.iter().any(|arg| arg == flag) {
                continue;
            }
            line.extend([flag.to_owned(), value]);
        }
        line.extend(args.clone());
        Ok(line)
    }

    /// Starts it.
    pub fn without_waiting(self, node: &Node) -> Result<Agent> {
        if self.args.iter().any(|arg| arg == "--attach-xdp") {
            node.port().take_xdp_tx()?;
        }
        let process = node.spawn(&self.line(node)?, &node.files().join("agent.log"))?;
        Ok(Agent {
            process,
            quiet: false,
        })
    }
}

impl Agent {
    /// Waits until `/readyz` says 200.
    pub fn wait_ready(&mut self, node: &Node) -> Result<()> {
        self.wait_ready_within(node, START)
    }

    /// [`Agent::wait_ready`] where there is more to read than usual.
    pub fn wait_ready_within(&mut self, node: &Node, deadline: Duration) -> Result<()> {
        poll::until(deadline, "the agent is ready", || {
            if let Some(status) = self.process.ended()? {
                return Ok(Some(Err(status)));
            }
            Ok((http(node, HEALTH, "/readyz")?.0 == 200).then_some(Ok(())))
        })?
        .or_else(|status: ExitStatus| bail!("the agent ended with {status}:\n{}", self.tail()))
    }

    /// Its log so far.
    pub fn log(&self) -> Result<String> {
        self.process.said()
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.ended()
    }

    /// Its log is of no interest any more.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// kill -9
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP).map(drop)
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(STOP)
    }

    /// Waits for it to end by itself.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        self.process.wait(START)
    }

    fn tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A test shows it only if it fails.
        if !self.quiet {
            eprintln!("the agent's log ends:\n{}", self.tail());
        }
    }
}

/// GET, in the node's namespace: status and body.
pub fn http(node: &Node, addr: &str, path: &str) -> Result<(u16, String)> {
    let (status, _, body) = http_accepting(node, addr, path, "*/*")?;
    Ok((status, body))
}

/// [`http`] with this `Accept` header: status, headers and body.
pub fn http_accepting(
    node: &Node,
    addr: &str,
    path: &str,
    accept: &str,
) -> Result<(u16, String, String)> {
    let addr: SocketAddr = addr.parse().context("an address")?;
    let text = node.block(|| {
        let mut stream = TcpStream::connect_timeout(&addr, poll::patient(Duration::from_secs(2)))?;
        stream.set_read_timeout(Some(poll::patient(Duration::from_secs(5))))?;
        stream.write_all(
            format!("GET {path} HTTP/1.0\r\nHost: test\r\nAccept: {accept}\r\n\r\n").as_bytes(),
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((
        status.with_context(|| format!("no HTTP status in {head:?}"))?,
        head.to_owned(),
        body.to_owned(),
    ))
}

/// Runs a verb of the agent on the node: `get services`, `cleanup`.
pub fn verb(node: &Node, words: &[&str]) -> Result<String> {
    verb_in(node, node.bpf_dir(), words)
}

/// [`verb`] that is told where the agent keeps its state.
pub fn verb_with_state(node: &Node, words: &[&str]) -> Result<String> {
    let state = node.files().join("state").display().to_string();
    verb(node, &[words, &["--state-dir", &state]].concat())
}

/// [`verb`] of another pin directory.
fn verb_in(node: &Node, dir: &Path, words: &[&str]) -> Result<String> {
    let binary = binary()?.display().to_string();
    let dir = dir.display().to_string();
    let line = [&[binary.as_str()], words, &["--bpf-dir", &dir]].concat();
    node.run(&line)
}

/// `get services -o json`.
pub fn services(node: &Node) -> Result<Value> {
    services_in(node, node.bpf_dir())
}

/// [`services`] of another pin directory.
pub fn services_in(node: &Node, dir: &Path) -> Result<Value> {
    serde_json::from_str(&verb_in(node, dir, &["get", "services", "-o", "json"])?)
        .context("read the JSON of get services")
}

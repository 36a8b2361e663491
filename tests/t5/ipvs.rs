//! Whom the kernel's own IPVS gives each connection to, beside our schedulers. Needs a kernel with
//! IPVS: `cargo xtask vm --only ipvs`. What it chose is recorded with `--record`, and holds tests of
//! tier 2 to it.

use std::{
    collections::VecDeque,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::ipvs::{Loads, Record, Step, Turns};
use testbed::{netns::Netns, poll, process, sandbox::Sandbox};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const PORT: u16 = 80;
/// Connections of a sequence of turns: at least two rounds of each.
const TURNS: usize = 60;
/// Connections that come or go in a script.
const CHANGES: u32 = 90;
/// For a count to follow its connection.
const SOON: Duration = Duration::from_secs(10);

/// Of the real servers, in the order of `ipvsadm -L`.
const TURNING: [(&str, &[u16]); 8] = [
    ("rr", &[1, 1, 1]),
    ("rr", &[5, 0, 1, 2]),
    ("wrr", &[1, 1, 1, 1]),
    ("wrr", &[4, 3, 2]),
    ("wrr", &[400, 200, 300]),
    ("wrr", &[1, 5, 1]),
    ("wrr", &[3, 0, 2]),
    ("wrr", &[7, 1, 5, 2, 10]),
];
const COUNTING: [(&str, &[u16]); 6] = [
    ("lc", &[1, 1, 1]),
    ("lc", &[1, 9, 0, 2]),
    ("wlc", &[1, 1, 1]),
    ("wlc", &[4, 3, 2]),
    ("wlc", &[1, 0, 10, 3]),
    ("wlc", &[100, 50, 300, 7, 20]),
];

/// A namespace with a virtual server, and its real servers at addresses of its own.
struct Virtual {
    netns: Netns,
    real: Vec<Ipv4Addr>,
}

impl Virtual {
    fn new(scheduler: &str, weights: &[u16]) -> Result<Self> {
        let netns = Netns::new("ipvs")?;
        let real: Vec<Ipv4Addr> = (1..=weights.len())
            .map(|n| Ok(Ipv4Addr::new(10, 0, 0, u8::try_from(n)?)))
            .collect::<Result<_>>()?;
        let addresses = real.iter().chain([&VIP]);
        let lines: Vec<String> = addresses
            .map(|ip| format!("addr add {ip}/32 dev lo"))
            .collect();
        netns.ip(&format!("link set lo up\n{}\n", lines.join("\n")))?;
        let this = Self { netns, real };
        let server = format!("{VIP}:{PORT}");
        this.run(&["ipvsadm", "-A", "-t", &server, "-s", scheduler])?;
        // The last one stands first.
        for (ip, weight) in this.real.iter().zip(weights).rev() {
            let (real, weight) = (format!("{ip}:{PORT}"), weight.to_string());
            this.run(&[
                "ipvsadm", "-a", "-t", &server, "-r", &real, "-m", "-w", &weight,
            ])?;
        }
        let listed: Vec<Ipv4Addr> = this.listed()?.into_iter().map(|(ip, _)| ip).collect();
        ensure!(listed == this.real, "{listed:?}");
        Ok(this)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let place = Sandbox {
            netns: Some(self.netns.path()),
            ..Sandbox::default()
        };
        process::run(&place, words)
    }

    /// Each real server, with its `ActiveConn` and `InActConn`.
    fn listed(&self) -> Result<Vec<(Ipv4Addr, (u32, u32))>> {
        let text = self.run(&["ipvsadm", "-L", "-n"])?;
        let lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-> 10."));
        lines.map(real_server).collect()
    }

    fn counts(&self) -> Result<Vec<(u32, u32)>> {
        Ok(self
            .listed()?
            .into_iter()
            .map(|(_, counts)| counts)
            .collect())
    }

    /// Who gets a connection, and its two ends.
    fn connect(&self, listener: &TcpListener) -> Result<(usize, [TcpStream; 2])> {
        let client = self.netns.block(|| {
            TcpStream::connect((VIP, PORT)).with_context(|| format!("connect to {VIP}"))
        })?;
        let (server, _) = listener.accept().context("accept")?;
        let ip = server.local_addr().context("ask for the address")?.ip();
        let place = self.real.iter().position(|real| *real == ip);
        Ok((
            place.with_context(|| format!("{ip} answered"))?,
            [client, server],
        ))
    }

    fn listen(&self) -> Result<TcpListener> {
        let any = (Ipv4Addr::UNSPECIFIED, PORT);
        self.netns
            .block(|| TcpListener::bind(any).context("listen"))
    }
}

/// Of `0.0.1:80  Masq  1  2  3`.
fn real_server(line: &str) -> Result<(Ipv4Addr, (u32, u32))> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, _, active, inactive] = words[..] else {
        anyhow::bail!("a real server: {line}");
    };
    let ip = address.split(':').next().unwrap_or_default();
    Ok((
        format!("10.{ip}").parse()?,
        (active.parse()?, inactive.parse()?),
    ))
}

fn turns(scheduler: &str, weights: &[u16]) -> Result<Turns> {
    let place = Virtual::new(scheduler, weights)?;
    let listener = place.listen()?;
    let chosen = (0..TURNS).map(|_| Ok(place.connect(&listener)?.0));
    Ok(Turns {
        scheduler: scheduler.to_owned(),
        weights: weights.to_vec(),
        chosen: chosen.collect::<Result<_>>()?,
    })
}

/// Connections come, and two of five times the oldest goes.
fn loads(scheduler: &str, weights: &[u16]) -> Result<Loads> {
    let place = Virtual::new(scheduler, weights)?;
    let listener = place.listen()?;
    let (mut open, mut steps) = (VecDeque::new(), Vec::new());
    for change in 0..CHANGES {
        if change % 5 > 2 {
            open.pop_front();
        }
        let settled = || {
            let counts = place.counts()?;
            let active: u32 = counts.iter().map(|(active, _)| active).sum();
            Ok((usize::try_from(active)? == open.len()).then_some(counts))
        };
        let counts = poll::until(SOON, "each open connection is counted", settled)?;
        if change % 5 <= 2 {
            let (chosen, ends) = place.connect(&listener)?;
            open.push_back(ends);
            steps.push(Step { counts, chosen });
        }
    }
    Ok(Loads {
        scheduler: scheduler.to_owned(),
        weights: weights.to_vec(),
        steps,
    })
}

#[test]
fn ipvs_chooses_as_was_recorded_and_as_we_do() -> Result<()> {
    for module in ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc"] {
        process::run(&Sandbox::default(), &["modprobe", module])
            .context("this kernel has no IPVS: `cargo xtask vm --only ipvs` has it")?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the release")?;
    let record = Record {
        kernel: release.trim().to_owned(),
        turns: TURNING
            .iter()
            .map(|(scheduler, weights)| turns(scheduler, weights))
            .collect::<Result<_>>()?,
        loads: COUNTING
            .iter()
            .map(|(scheduler, weights)| loads(scheduler, weights))
            .collect::<Result<_>>()?,
    };
    record.check()?;
    if let Some(dir) = std::env::var_os("LB_RECORD_DIR") {
        let file = PathBuf::from(dir).join("ipvs.json");
        return fs::write(&file, record.text()?).context("write the record");
    }
    let recorded = Record::of_line(&record.kernel)?;
    ensure!(
        recorded.turns == record.turns,
        "recorded of {}: {:?}; now {:?}: `--record` if both are right",
        recorded.kernel,
        recorded.turns,
        record.turns
    );
    Ok(())
}

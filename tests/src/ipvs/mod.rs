//! What the kernel's own IPVS chose, connection by connection, as `t5::ipvs` records it in guests; and
//! whether our schedulers choose the same.

mod check;

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Of one kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its release.
    pub kernel: String,
    /// Of schedulers that take turns.
    pub turns: Vec<Turns>,
    /// Of schedulers that go by connections.
    pub loads: Vec<Loads>,
}

/// One connection after the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Turns {
    /// `rr` or `wrr`.
    pub scheduler: String,
    /// Of the real servers, in the order of `ipvsadm -L`.
    pub weights: Vec<u16>,
    /// Who got each connection, by place in that order.
    pub chosen: Vec<usize>,
}

/// Connections that come and go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loads {
    /// `lc` or `wlc`.
    pub scheduler: String,
    /// Of the real servers, in the order of `ipvsadm -L`.
    pub weights: Vec<u16>,
    /// Of each new connection.
    pub steps: Vec<Step>,
}

/// A new connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// `ActiveConn` and `InActConn` of each real server before.
    pub counts: Vec<(u32, u32)>,
    /// Who got it.
    pub chosen: usize,
}

impl Record {
    /// What is recorded, by kernel line: the files beside this one.
    pub const LINES: [(&str, &str); 2] = [
        ("6.1", include_str!("6.1.json")),
        ("6.12", include_str!("6.12.json")),
    ];

    /// What is recorded of the line of this kernel.
    ///
    /// # Errors
    ///
    /// If nothing is.
    pub fn of_line(release: &str) -> Result<Self> {
        let of = |(line, _): &&(&str, &str)| release.starts_with(&format!("{line}."));
        let found = Self::LINES.iter().find(of);
        let (_, text) = found.with_context(|| format!("nothing is recorded of Linux {release}"))?;
        Self::read(text)
    }

    /// Reads a file that [`Self::text`] has made.
    ///
    /// # Errors
    ///
    /// If it is no such file.
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("read a record of IPVS")
    }

    /// JSON, a line for each sequence and each new connection.
    ///
    /// # Errors
    ///
    /// None of a record is known.
    pub fn text(&self) -> Result<String> {
        let mut text = format!("{{\"kernel\": {},\n\"turns\": [\n", json(&self.kernel)?);
        text += &lines(&self.turns)?;
        text += "\n],\n\"loads\": [\n";
        for (n, loads) in self.loads.iter().enumerate() {
            let comma = if n == 0 { "" } else { ",\n" };
            write!(
                text,
                "{comma}{{\"scheduler\": {}, \"weights\": {}, \"steps\": [\n{}\n]}}",
                json(&loads.scheduler)?,
                json(&loads.weights)?,
                lines(&loads.steps)?
            )?;
        }
        text += "\n]}\n";
        Ok(text)
    }
}

fn lines<T: Serialize>(items: &[T]) -> Result<String> {
    let lines: Vec<String> = items.iter().map(json).collect::<Result<_>>()?;
    Ok(lines.join(",\n"))
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).context("write a record of IPVS")
}

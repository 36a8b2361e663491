//! Tables of two levels, as ipvsadm has them: a line for each frontend, and below it one for each of
//! its backends.

use std::fmt::Write as _;

use super::listing::Headers;
use crate::inventory::{Frontend, Member};

/// Of an address with its port, at least.
const ADDRESS: usize = 20;

/// Cells of a frontend's line.
type OfFrontend<'a> = &'a dyn Fn(&Frontend) -> Vec<String>;
/// Cells of a backend's line.
type OfBackend<'a> = &'a dyn Fn(&Frontend, &Member) -> Vec<String>;

/// Which lines have their columns one below the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// All.
    Shared,
    /// Those of frontends, and those of backends.
    OfEach,
}

/// What stands beside the addresses.
pub(super) struct Levels<'a> {
    /// Of frontends, of backends.
    pub(super) heads: [&'a [&'a str]; 2],
    pub(super) columns: Columns,
    pub(super) frontend: OfFrontend<'a>,
    pub(super) backend: OfBackend<'a>,
}

/// One line: 0 of a frontend, 1 of a backend; its address, and the cells behind it.
struct Line {
    level: usize,
    address: String,
    cells: Vec<String>,
}

impl Levels<'_> {
    pub(super) fn table(&self, all: &[&Frontend], headers: Headers) -> String {
        let mut lines = Vec::new();
        if headers == Headers::Shown {
            let addresses = ["Prot LocalAddress:Port", "  -> RemoteAddress:Port"];
            for (level, address) in addresses.into_iter().enumerate() {
                lines.push(Line {
                    level,
                    address: address.to_owned(),
                    cells: self.heads[level].iter().map(ToString::to_string).collect(),
                });
            }
        }
        for f in all {
            lines.push(Line {
                level: 0,
                address: format!("{:<4} {}:{}", f.protocol, f.address, f.port),
                cells: (self.frontend)(f),
            });
            lines.extend(f.backends.iter().map(|b| Line {
                level: 1,
                address: format!("  -> {}:{}", b.address, b.port),
                cells: (self.backend)(f, b),
            }));
        }
        self.text(&lines)
    }

    fn text(&self, lines: &[Line]) -> String {
        let address = lines.iter().map(|line| line.address.len());
        let address = address.max().unwrap_or(0).max("Prot ".len() + ADDRESS);
        let widths = [0, 1].map(|level| self.widths(lines, level));
        let mut text = String::new();
        for line in lines {
            let mut words = format!("{:<address$}", line.address);
            for (cell, width) in line.cells.iter().zip(&widths[line.level]) {
                let _ = write!(words, " {cell:<width$}");
            }
            text += words.trim_end();
            text.push('\n');
        }
        text
    }

    /// Of each column of a level: as wide as its head, also where that is left out, and as its
    /// longest word.
    fn widths(&self, lines: &[Line], level: usize) -> Vec<usize> {
        let is_beside = |other: usize| self.columns == Columns::Shared || other == level;
        let heads = self.heads.iter().enumerate();
        let heads = heads.filter(|(other, _)| is_beside(*other));
        let heads = heads.map(|(_, words)| words.iter().map(|word| word.len()).collect());
        let cells = lines.iter().filter(|line| is_beside(line.level));
        let cells = cells.map(|line| line.cells.iter().map(String::len).collect());
        let mut widths = Vec::new();
        for line in heads.chain(cells) {
            let line: Vec<usize> = line;
            widths.resize(line.len().max(widths.len()), 0);
            for (width, word) in widths.iter_mut().zip(line) {
                *width = word.max(*width);
            }
        }
        widths
    }
}

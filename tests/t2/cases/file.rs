//! The format of a case file: objects as YAML, what the maps hold for them, and steps that change
//! the objects.
//!
//! ```text
//! # What the case shows.
//! apiVersion: v1
//! kind: Service
//! …
//! --- maps
//! vip 10.96.0.10 cluster-ip
//! …
//! --- then: web-1 terminates
//! kind: EndpointSlice
//! metadata: {name: web-1}
//! endpoints: […]
//! --- maps
//! …
//! ```

use anyhow::{Context as _, Result, bail};

const MAPS: &str = "--- maps";
const THEN: &str = "--- then: ";

/// A case file, taken apart.
#[derive(Debug)]
pub(super) struct CaseFile {
    /// The first one has no title.
    pub(super) stages: Vec<Stage>,
}

/// Objects that come, and the maps behind them.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// What happens.
    pub(super) title: String,
    pub(super) yaml: String,
    pub(super) maps: String,
}

impl CaseFile {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut stages = vec![Stage::default()];
        let mut in_maps = false;
        for line in text.split_inclusive('\n') {
            let marker = line.trim_end();
            let stage = stages.last_mut().context("there is a first stage")?;
            if marker == MAPS {
                if in_maps {
                    bail!("`{MAPS}` twice in one stage");
                }
                in_maps = true;
            } else if let Some(title) = marker.strip_prefix(THEN) {
                if !in_maps {
                    bail!("`{marker}` stands before the maps of the stage above it");
                }
                in_maps = false;
                stages.push(Stage {
                    title: title.to_owned(),
                    ..Stage::default()
                });
            } else if in_maps {
                stage.maps.push_str(line);
            } else {
                stage.yaml.push_str(line);
            }
        }
        Ok(Self { stages })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Stage { title, yaml, maps } in &self.stages {
            if !title.is_empty() {
                text.push_str(&[THEN, title, "\n"].concat());
            }
            text.push_str(&[yaml, MAPS, "\n", maps].concat());
        }
        text
    }
}

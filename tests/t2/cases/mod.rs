//! Every file of `tests/cases` is a test of its own name: Kubernetes objects, what the maps of node
//! `n1` hold for them, and steps. `UPDATE=1` rewrites the maps. Each case runs in several orders of
//! arrival and ends in empty maps.

mod agent;
mod file;
mod objects;
mod order;

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use file::CaseFile;
use lb_agent::{
    model::{Cidr, Scheduler},
    plan::PlanConfig,
};
use libtest_mimic::Trial;
use objects::{Documents, Objects};
use order::Order;

const NODE: &str = "n1";
/// Fewer are a folder that was not found whole.
const FEWEST: usize = 100;

/// A case, ready to run.
struct Case {
    config: PlanConfig,
    addresses: Vec<(IpAddr, u32)>,
    /// All objects behind each stage of the file.
    stages: Vec<Objects>,
}

/// One test a file.
pub(crate) fn trials() -> Result<Vec<Trial>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut trials = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let stem = path.file_stem().context("a file has a name")?;
        let name = format!("cases::{}", stem.to_string_lossy());
        ensure!(
            path.extension().is_some_and(|ext| ext == "case"),
            "{} is no case file",
            path.display()
        );
        trials.push(crate::trial(name, move || check(&path)));
    }
    ensure!(trials.len() >= FEWEST, "only {} cases", trials.len());
    Ok(trials)
}

fn check(path: &PathBuf) -> Result<()> {
    let mut file = CaseFile::parse(&fs::read_to_string(path)?)?;
    let case = Case::read(&file)?;
    for order in Order::ALL {
        let found = case.run(order).with_context(|| format!("{order:?}"))?;
        if order == Order::ALL[0] && std::env::var_os("UPDATE").is_some() {
            for (stage, found) in file.stages.iter_mut().zip(&found) {
                stage.maps.clone_from(found);
            }
            fs::write(path, file.text())?;
        }
        for (stage, found) in file.stages.iter().zip(&found) {
            ensure!(
                *found == stage.maps,
                "{order:?}, stage {:?}: not as in {} (UPDATE=1 rewrites it); expected:\n{}found:\n{found}",
                stage.title,
                path.display(),
                stage.maps
            );
        }
    }
    Ok(())
}

impl Case {
    /// Lines `# config: KEY VALUE` set what flags set.
    fn read(file: &CaseFile) -> Result<Self> {
        let (first, steps) = file.stages.split_first().context("an empty file")?;
        let mut case = Self {
            config: PlanConfig {
                node_name: NODE.into(),
                ..PlanConfig::default()
            },
            addresses: Vec::new(),
            stages: vec![Objects::read(&first.yaml)?],
        };
        let config = |line: &'_ str| line.strip_prefix("# config: ").map(str::to_owned);
        for line in first.yaml.lines().filter_map(config) {
            case.configure(&line).with_context(|| line.clone())?;
        }
        if steps.is_empty() {
            return Ok(case);
        }
        let mut documents = Documents::parse(&first.yaml)?;
        for step in steps {
            let objects = documents
                .patch(&step.yaml)
                .and_then(|()| Objects::read(&documents.text()));
            case.stages
                .push(objects.with_context(|| step.title.clone())?);
        }
        Ok(case)
    }

    fn configure(&mut self, line: &str) -> Result<()> {
        let (key, value) = line.split_once(' ').context("not KEY VALUE")?;
        match key {
            "external-ips" => {
                let network = Cidr::parse(value).context("no network")?;
                self.config.external_ips.push(network);
            }
            "scheduler" => {
                self.config.scheduler = Scheduler::parse(value).context("no scheduler")?;
            }
            "lb0" => self.config.lb0 = value.parse()?,
            "address" => self.addresses.push((value.parse()?, 2)),
            _ => bail!("unknown key"),
        }
        Ok(())
    }
}

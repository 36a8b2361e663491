//! `lb-agent validate`: manifests or a configuration file, read as the agent reads them, without
//! running anything.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use anyhow::Result;

use super::{
    args::{OfflineArgs, Validate},
    offline::Offline,
    output::print,
};
use crate::{model::ObjectKey, plan, settings::file::ConfigFile};

/// Carries the verb out; 1 if anything cannot be read, or would not be programmed as it asks.
pub fn run(args: &Validate) -> Result<ExitCode> {
    let mut report = Report::default();
    if let Some(path) = &args.config {
        config(path, args.config_strict, &mut report);
    }
    if let Some(dir) = &args.manifests {
        folder(dir, &args.offline, &mut report)?;
    }
    let Report { lines, errors } = report;
    print(
        &lines
            .into_iter()
            .map(|line| line + "\n")
            .collect::<String>(),
    )?;
    Ok(ExitCode::from(u8::from(errors > 0)))
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    errors: usize,
}

impl Report {
    fn error(&mut self, text: String) {
        self.errors += 1;
        self.lines.push(text);
    }
}

fn config(path: &Path, is_strict: bool, report: &mut Report) {
    let shown = path.display();
    match ConfigFile::load(path) {
        Err(error) => {
            let reason = error.chain().skip(1).map(ToString::to_string);
            let reason: Vec<String> = reason.collect();
            let reason = reason.join(": ");
            match ConfigFile::stopped_at(&error).or_else(|| line_of(&reason)) {
                Some(line) => report.error(format!("{shown}:{line}: {reason}")),
                None => report.error(format!("{shown}: {reason}")),
            }
        }
        Ok(read) => {
            let warnings = read.warnings.iter();
            report
                .lines
                .extend(warnings.map(|w| format!("{shown}: has no meaning here: {w}")));
            if is_strict && let Err(refusal) = read.refuse_strangers(path) {
                report.error(refusal.to_string());
                return;
            }
            let strangers = read.strangers.iter();
            report
                .lines
                .extend(strangers.map(|s| format!("{shown}: {s}")));
            report.lines.push(format!("{shown}: good"));
        }
    }
}

/// `line N` in what is said of a field.
fn line_of(reason: &str) -> Option<u64> {
    let (_, rest) = reason.split_once("line ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn folder(dir: &Path, args: &OfflineArgs, report: &mut Report) -> Result<()> {
    let read = Offline::read(dir, args)?;
    let before = report.errors;
    for problem in &read.problems {
        report.error(problem.to_string());
    }
    report.lines.extend(
        read.warnings
            .iter()
            .map(|w| format!("{}: {w}", dir.display())),
    );
    let (cluster, config) = (&read.cluster, &read.config);
    let zone = cluster.zone().map(|zone| &**zone);
    let planned = cluster.services().map(|service| {
        let slices = cluster.slices(&service.key);
        (
            service.key.clone(),
            plan::plan(service, slices, zone, config),
        )
    });
    let plans: BTreeMap<ObjectKey, plan::ServicePlan> = planned.collect();
    for (key, plan) in &plans {
        for problem in &plan.problems {
            report.error(format!("Service {key}: {problem}"));
        }
        for error in plan.pools.iter().filter_map(|pool| pool.refused.as_ref()) {
            report.error(format!("Service {key}: {error}"));
        }
    }
    report.lines.push(format!(
        "{}: {} files, {} Services, {}",
        dir.display(),
        read.files,
        plans.len(),
        match report.errors - before {
            0 => "good".to_owned(),
            n => format!("{n} problems"),
        }
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HEAD: &str =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    fn validated(text: &str, is_strict: bool) -> (Vec<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, text).unwrap();
        let mut report = Report::default();
        config(&path, is_strict, &mut report);
        let shown = path.display().to_string();
        let lines = report.lines.into_iter();
        let lines = lines.map(|line| line.replace(&shown, "f")).collect();
        (lines, report.errors)
    }

    #[test]
    fn strangers_are_shown_and_refused_where_that_is_asked() {
        let text = format!("{HEAD}strictARP: true\n");
        let (lines, errors) = validated(&text, false);
        assert_eq!(errors, 0, "{lines:?}");
        assert!(lines[0].starts_with("f: line 3: strictARP: "), "{lines:?}");
        assert_eq!(lines[1..], ["f: good"]);
        let (lines, errors) = validated(&text, true);
        assert_eq!((lines.len(), errors), (1, 1), "{lines:?}");
        assert!(
            lines[0].starts_with("--config f: refused by --config-strict: line 3: strictARP"),
            "{lines:?}"
        );
        assert_eq!(validated(HEAD, true).0, ["f: good"]);
    }

    #[test]
    fn lines_are_those_of_the_whole_file() {
        for (text, line) in [
            (format!("{HEAD}mode: [\nx: y\n"), 3),
            (format!("kind: A\n---\n{HEAD}mode: [\nx: y\n"), 5),
            (format!("kind: A\n---\n{HEAD}mode: a\nmode: b\n"), 5),
            (format!("kind: A\n---\n{HEAD}nonsense: a\n"), 5),
        ] {
            let (lines, errors) = validated(&text, false);
            assert_eq!(errors, 1, "{lines:?}");
            assert!(lines[0].starts_with(&format!("f:{line}: ")), "{lines:?}");
        }
    }

    #[test]
    fn external_ips_are_admitted_as_by_the_flag_and_each_part_counts_its_own() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("a.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 10.96.0.1\n  externalIPs: [198.18.0.1]\n  ports:\n  - port: 80\n",
        )
        .unwrap();
        let mut report = Report {
            lines: Vec::new(),
            errors: 3,
        };
        let mut args = OfflineArgs {
            node_name: None,
            external_ip_cidrs: Vec::new(),
        };
        folder(dir.path(), &args, &mut report).unwrap();
        assert_eq!(report.errors, 4, "{:?}", report.lines);
        assert!(report.lines.last().unwrap().ends_with("1 problems"));
        args.external_ip_cidrs = vec!["198.18.0.0/15".parse().unwrap()];
        folder(dir.path(), &args, &mut report).unwrap();
        assert_eq!(report.errors, 4, "{:?}", report.lines);
        assert!(report.lines.last().unwrap().ends_with("good"));
    }
}

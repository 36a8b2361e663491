//! How this workspace's own crates are compiled, and what cargo's JSON messages say of the result.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::step::Step;

/// The root of the clone.
pub(crate) fn root() -> Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(package
        .parent()
        .context("xtask stands in no workspace")?
        .to_owned())
}

/// The cargo that runs us, in the clone's root, with the compiler that the caller chose.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()?);
    // Set by `cargo run` for xtask itself; build scripts would take them for theirs.
    for name in [
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PKG_NAME",
    ] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Where cargo puts things, and ours beside them.
pub(crate) fn target_dir() -> Result<PathBuf> {
    Ok(match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root()?.join(dir),
        None => root()?.join("target"),
    })
}

/// One thing that cargo compiled and that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The package that it belongs to.
    pub(crate) package: String,
    /// The folder of that package's Cargo.toml; tests run in it.
    pub(crate) package_dir: PathBuf,
    /// The target's name: the file's for an integration test.
    pub(crate) target: String,
    /// `lib`, `bin` or `test`, as cargo says it.
    pub(crate) kind: String,
    /// Whether it is compiled with the test harness.
    pub(crate) is_test: bool,
    /// The program.
    pub(crate) path: PathBuf,
}

/// Runs a building cargo as a step and returns the programs it names.
pub(crate) fn compile(step: &Step, args: &[&str]) -> Result<Vec<Executable>> {
    let mut command = cargo()?;
    command
        .args(args)
        .arg("--message-format=json-render-diagnostics");
    Ok(executables(&step.run_for_output(&mut command)?))
}

/// What cargo says of the packages of this workspace.
pub(crate) fn metadata() -> Result<Value> {
    let said = cargo()?
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("run cargo metadata")?;
    serde_json::from_slice(&said.stdout).context("read the JSON of cargo metadata")
}

/// The program of the binary target `name`.
pub(crate) fn binary(built: &[Executable], name: &str) -> Result<PathBuf> {
    built
        .iter()
        .find(|found| found.target == name && found.kind == "bin" && !found.is_test)
        .map(|found| found.path.clone())
        .with_context(|| format!("cargo named no binary {name} in its messages"))
}

fn executables(messages: &str) -> Vec<Executable> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let manifest = PathBuf::from(text(&message["manifest_path"])?);
            let package_dir = manifest.parent()?.to_owned();
            Some(Executable {
                package: package_name(message["package_id"].as_str()?),
                package_dir,
                target: text(&message["target"]["name"])?,
                kind: text(&message["target"]["kind"][0])?,
                is_test: message["profile"]["test"].as_bool()?,
                path: text(&message["executable"])?.into(),
            })
        })
        .collect()
}

/// `path+file:///clone/lb-agent#0.1.0` and `path+file:///clone/tests#lb-tests@0.1.0` name lb-agent and lb-tests.
fn package_name(id: &str) -> String {
    let (url, fragment) = id.split_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _version)) => name.to_owned(),
        None => url.rsplit('/').next().unwrap_or(url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_by_folder_or_by_fragment() {
        assert_eq!(
            package_name("path+file:///clone/lb-agent#0.1.0"),
            "lb-agent"
        );
        assert_eq!(
            package_name("path+file:///clone/tests#lb-tests@0.1.0"),
            "lb-tests"
        );
    }

    #[test]
    fn only_what_can_be_run_is_taken_from_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","package_id":"path+file:///c/tests#lb-tests@0.1.0","manifest_path":"/c/tests/Cargo.toml","target":{"kind":["test"],"name":"t3"},"profile":{"test":true},"executable":"/t/t3-1"}
{"reason":"compiler-artifact","package_id":"path+file:///c/lb-sys#0.1.0","manifest_path":"/c/lb-sys/Cargo.toml","target":{"kind":["lib"],"name":"lb_sys"},"profile":{"test":false},"executable":null}
{"reason":"build-finished","success":true}"#;
        let expected = Executable {
            package: "lb-tests".into(),
            package_dir: "/c/tests".into(),
            target: "t3".into(),
            kind: "test".into(),
            is_test: true,
            path: "/t/t3-1".into(),
        };
        assert_eq!(executables(messages), [expected]);
    }
}

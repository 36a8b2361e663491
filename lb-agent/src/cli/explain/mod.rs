//! `lb-agent explain`: why a Service's clients, or one connection, go where they go.

mod flow;
pub(super) mod text;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use super::{
    args::{Explain, Form},
    ask,
    get::book,
    offline::Offline,
    output::print,
    state::state_dir,
};
use crate::{
    explain::{Explanation, Facts, explain},
    inventory::Place,
    maps::dir::BpfDir,
    model::ObjectKey,
    names::NameFiles,
    serve::local,
};

/// From where a client comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    /// This node, or a pod of the cluster.
    Inside,
    Outside,
}

/// Carries the verb out.
pub fn run(args: &Explain) -> Result<ExitCode> {
    let words: Vec<&str> = args.subject.words.iter().map(String::as_str).collect();
    let said = match words[..] {
        ["flow", source, destination] => {
            of_services_alone(args)?;
            flow::explain(args, source, destination)?
        }
        [service] if service != "flow" => of_service(args, service)?,
        _ => bail!("explain svc/NAME, or explain flow SOURCE DESTINATION"),
    };
    print(&said)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses what means nothing for a connection.
fn of_services_alone(args: &Explain) -> Result<()> {
    let given = [
        ("--port", args.subject.port.is_some()),
        ("--from", args.subject.from.is_some()),
        ("--manifests", args.manifests.is_some()),
        ("-o json", args.subject.output == Form::Json),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, is_given)| *is_given) {
        bail!("{flag} is for explain svc/NAME, explain flow SOURCE DESTINATION has none");
    }
    Ok(())
}

fn of_service(args: &Explain, word: &str) -> Result<String> {
    let word = ["svc/", "service/", "services/"]
        .into_iter()
        .find_map(|kind| word.strip_prefix(kind))
        .unwrap_or(word);
    let (namespace, name) = match word.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (args.subject.namespace.as_deref(), word),
    };
    for word in namespace.into_iter().chain([name]) {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if word.is_empty() || !word.chars().all(good) {
            bail!("{word:?} is no name of a Service or namespace");
        }
    }
    let mut explanation = match &args.manifests {
        Some(_) => offline(args, namespace, name)?,
        None => live(args, namespace, name)?,
    };
    if let Some(port) = &args.subject.port {
        narrow(&mut explanation, port)?;
    }
    let from = args.subject.from.as_deref();
    let side = from
        .map(|from| side(args, from, &explanation))
        .transpose()?;
    match args.subject.output {
        Form::Json => Ok(serde_json::to_string_pretty(&explanation).context("encode JSON")? + "\n"),
        Form::Table => Ok(text::of(&explanation, side)),
    }
}

/// As the running agent has it.
fn live(args: &Explain, namespace: Option<&str>, name: &str) -> Result<Explanation> {
    let dir = BpfDir::at(args.pins.dir());
    let socket = local::path(&state_dir(&args.state, &dir));
    let query = namespace.map_or_else(String::new, |n| format!("?namespace={n}"));
    let Some((status, body)) = ask::local(&socket, &format!("/explain/{name}{query}")) else {
        bail!(
            "no agent answers at {}: start it, name its directory with --state-dir, or explain YAML files with --manifests DIR",
            socket.display()
        );
    };
    let shown = namespace.map_or_else(|| name.to_owned(), |n| format!("{n}/{name}"));
    match status {
        200 => {
            serde_json::from_str(&body).context("read the agent's answer: is it of this version?")
        }
        404 => bail!(
            "the agent knows no Service {shown}: it does not exist, is headless or of type ExternalName, or is another proxy's"
        ),
        409 => bail!("there are several Services {name}: {body}; choose one with -n NAMESPACE"),
        _ => bail!("the agent answers with status {status}: {body}"),
    }
}

/// From files, as an agent would have it.
fn offline(args: &Explain, namespace: Option<&str>, name: &str) -> Result<Explanation> {
    let dir = args
        .manifests
        .as_deref()
        .unwrap_or(std::path::Path::new("."));
    let read = Offline::read(dir, &args.offline)?;
    for problem in &read.problems {
        eprintln!("lb-agent: {problem}");
    }
    let cluster = &read.cluster;
    let is_it =
        |key: &&ObjectKey| *key.name == *name && namespace.is_none_or(|n| *key.namespace == *n);
    let found: Vec<&ObjectKey> = cluster.services().map(|s| &s.key).filter(is_it).collect();
    let key = match found[..] {
        [key] => key,
        [] => bail!("no Service {name} in {}", dir.display()),
        _ => bail!("there are several Services {name}: choose one with -n NAMESPACE"),
    };
    let service = cluster.service(key).context("it was found")?;
    let facts = Facts {
        service,
        slices: cluster.slices(key),
        zone: cluster.zone().map(|zone| &**zone),
        config: &read.config,
    };
    Ok(explain(facts, None))
}

/// Only what concerns one port, by its name or number.
fn narrow(explanation: &mut Explanation, port: &str) -> Result<()> {
    let number = format!(":{port}");
    let of_number = explanation.frontends.iter();
    let of_number = of_number.filter(|f| f.frontend.ends_with(&number));
    let names: Vec<String> = of_number.map(|f| f.port.clone()).collect();
    let is_it = |name: &String| name == port || names.contains(name);
    if !explanation.frontends.iter().any(|f| is_it(&f.port)) {
        let known = explanation
            .frontends
            .iter()
            .map(|f| format!("{} ({})", f.port, f.frontend));
        let known: Vec<String> = known.collect();
        bail!("the Service has no port {port:?}, but {}", known.join(", "));
    }
    explanation.frontends.retain(|f| is_it(&f.port));
    Ok(())
}

/// Where a client is. An address that no endpoint has is outside.
fn side(args: &Explain, from: &str, explanation: &Explanation) -> Result<Side> {
    if from.starts_with("pod/") {
        return Ok(Side::Inside);
    }
    let ip: IpAddr = from
        .parse()
        .with_context(|| format!("--from {from}: neither pod/NAME nor an address"))?;
    let mut endpoints = explanation.pools.iter().flat_map(|p| &p.endpoints);
    let listens = |address: &str| address.parse().is_ok_and(|a: SocketAddr| a.ip() == ip);
    let dir = BpfDir::at(args.pins.dir());
    let state = state_dir(&args.state, &dir);
    let book = book(&NameFiles::of(&state, dir.root()));
    let known =
        endpoints.any(|e| listens(&e.address)) || Place::of(&book, None, ip) != Place::default();
    Ok(if known || ip.is_loopback() {
        Side::Inside
    } else {
        Side::Outside
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn refusal(words: &[&str]) -> String {
        let line = [&["lb-agent", "explain"], words].concat();
        let Some(Verb::Explain(args)) = Cli::try_parse_from(line).unwrap().verb else {
            unreachable!("it is this verb")
        };
        format!("{:#}", run(&args).unwrap_err())
    }

    #[test]
    fn what_means_nothing_for_a_connection_is_refused() {
        let flow = ["flow", "10.0.0.1", "10.96.0.1:80"];
        for words in [
            &["--port", "80"][..],
            &["--from", "10.0.0.1"],
            &["--manifests", "/"],
            &["-o", "json"],
        ] {
            let error = refusal(&[&flow[..], words].concat());
            assert!(error.starts_with(words[0]), "{error}");
            assert!(error.contains("is for explain svc/NAME"), "{error}");
        }
    }

    #[test]
    fn a_wrong_client_is_refused_in_each_form() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("a.yaml"),
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: 80\n",
        )
        .unwrap();
        let dir = dir.path().display().to_string();
        let words = ["svc/a", "--manifests", &dir, "--from", "somewhere"];
        for form in ["table", "json"] {
            let error = refusal(&[&words[..], &["-o", form]].concat());
            assert!(error.contains("neither pod/NAME nor an address"), "{error}");
        }
    }
}

//! `lb-agent kubectl VERB`, which is also `kubectl lb VERB`: a verb in the pod of every agent, and
//! the answers together.

mod agent_pod;
mod ask;
mod check;
mod explain;
mod lacking;
mod lists;
mod pods;
mod shown;
mod status;
mod top;

use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    args::{Agents, Kubectl, NodesVerb},
    output::List,
};
use crate::visible::lines;
use agent_pod::AgentPod;
use shown::tell;

/// A node does not answer.
const SILENT: u8 = 3;

/// The cluster whose agents are asked.
struct Nodes<'a> {
    client: Client,
    agents: &'a Agents,
}

/// What a node said.
struct Answer {
    node: String,
    /// Namespace and name of the agent's pod, if the node has one.
    pod: Option<String>,
    said: Result<Said>,
}

/// What a verb wrote, and how it ended.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    /// Exit code.
    code: i32,
}

/// What a node said, as JSON.
struct Document {
    node: String,
    pod: Option<String>,
    output: Result<Value>,
    /// Exit code of the verb, if it ran.
    code: Option<i32>,
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Good,
    /// The verb failed on some node, or found something wrong there.
    Failed,
    /// A node did not answer.
    Silent,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Good => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Silent => Self::from(SILENT),
        }
    }
}

/// Carries the verb out. 1 if it fails on some node, 3 if a node does not answer.
pub fn run(args: &Kubectl) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let outcome = runtime.block_on(async {
        let nodes = Nodes {
            client: client(&args.agents).await?,
            agents: &args.agents,
        };
        match &args.verb {
            NodesVerb::Get(get) => lists::run(&nodes, get).await,
            NodesVerb::Status { output } => status::run(&nodes, *output).await,
            NodesVerb::Check { output } => check::run(&nodes, *output).await,
            NodesVerb::Top(top) => top::run(&nodes, top).await,
            NodesVerb::Explain(explain) => explain::run(&nodes, explain).await,
        }
    })?;
    Ok(outcome.into())
}

async fn client(agents: &Agents) -> Result<Client> {
    let kubeconfig = match &agents.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| path.display().to_string())?,
        None => Kubeconfig::read().context(
            "read the kubeconfig: name one with --kubeconfig, or by the variable KUBECONFIG",
        )?,
    };
    let options = KubeConfigOptions {
        context: agents.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .context("use the kubeconfig")?;
    config.connect_timeout = Some(agents.timeout);
    Client::try_from(config).context("use the kubeconfig")
}

/// What each node said of `-o json`. What else it says is told on standard error, and what cannot be
/// read.
fn documents(answers: Vec<Answer>) -> Vec<Document> {
    let documents = answers.into_iter().map(|answer| {
        let Answer { node, pod, said } = answer;
        let (output, code, beside) = match said {
            Ok(said) => (said.json(), Some(said.code), said.err),
            Err(error) => (Err(error), None, String::new()),
        };
        match &output {
            Ok(_) => tell(&node, &beside),
            Err(error) => tell(&node, &format!("{error:#}")),
        }
        Document {
            node,
            pod,
            output,
            code,
        }
    });
    documents.collect()
}

/// What each node said in words, as far as the verb has not failed there. What else it says is told
/// on standard error, and what went wrong.
fn texts(answers: Vec<Answer>) -> (Vec<(String, String)>, Outcome) {
    let (mut texts, mut outcome) = (Vec::new(), Outcome::Good);
    for Answer { node, pod: _, said } in answers {
        let (error, of) = match said {
            Ok(said) if said.code == 0 => {
                tell(&node, &said.err);
                texts.push((node, lines(&said.out)));
                continue;
            }
            Ok(said) => (said.error(), Outcome::Failed),
            Err(error) => (error, Outcome::Silent),
        };
        tell(&node, &format!("{error:#}"));
        outcome = outcome.max(of);
    }
    (texts, outcome)
}

impl Said {
    /// Some verbs say in JSON what is wrong, and fail.
    fn json(&self) -> Result<Value> {
        match serde_json::from_str(&self.out) {
            Ok(value) => Ok(value),
            Err(_) if self.code != 0 => Err(self.error()),
            Err(error) => Err(anyhow!(error).context("the answer is no JSON")),
        }
    }

    /// What a verb that failed says of it.
    fn error(&self) -> anyhow::Error {
        match self.err.trim() {
            "" => anyhow!("exit code {}", self.code),
            words => anyhow!(lines(words.trim_start_matches("lb-agent: "))),
        }
    }
}

fn outcome(documents: &[Document]) -> Outcome {
    let of = documents.iter().map(|d| match (&d.output, d.code) {
        (_, Some(code)) if code != 0 => Outcome::Failed,
        (Err(_), _) => Outcome::Silent,
        (Ok(_), _) => Outcome::Good,
    });
    of.max().unwrap_or(Outcome::Good)
}

/// What a node said, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeOutput<'a> {
    node: &'a str,
    /// Namespace and name.
    pod: Option<&'a str>,
    /// Of the verb, if it ran; 0 where the node only lacks what is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// What the verb writes with `-o json` there.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn list(documents: &[Document]) -> List<Vec<NodeOutput<'_>>> {
    let items = documents.iter().map(|document| NodeOutput {
        node: &document.node,
        pod: document.pod.as_deref(),
        exit_code: document.code,
        output: document.output.as_ref().ok(),
        error: document.output.as_ref().err().map(|e| format!("{e:#}")),
    });
    List::new("NodeOutputList", items.collect())
}

fn json(documents: &[Document]) -> Result<String> {
    let text = serde_json::to_string_pretty(&list(documents)).context("encode JSON")?;
    Ok(shown::json(&text) + "\n")
}

/// The items of a node's list, each with the node.
fn items(documents: &[Document]) -> impl Iterator<Item = (&str, &Value)> {
    documents.iter().flat_map(|document| {
        let output = document.output.as_ref().ok();
        let items = output.and_then(|output| output["items"].as_array());
        items
            .into_iter()
            .flatten()
            .map(|item| (document.node.as_str(), item))
    })
}

/// The flags that have a value, as words of a verb.
fn flags<'a>(
    given: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> impl Iterator<Item = String> {
    let given = given.into_iter();
    given.filter_map(|(flag, value)| value.map(|value| format!("{flag}={value}")))
}

#[cfg(test)]
mod tests;

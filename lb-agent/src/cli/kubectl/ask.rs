//! One verb in each agent's pod, by `exec` of the API server: some at once, each in its time.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures::{StreamExt as _, stream};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status as ExecStatus};
use kube::{Api, api::AttachParams};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{AgentPod, Answer, Nodes, Said, pods};

/// The program in the agent's image.
const PROGRAM: &str = "/lb-agent";
/// Bytes of output that are on their way.
const BUFFER: usize = 64 << 10;
/// MiB of output that are read of a node: more than twice the longest list, that of full flow tables
/// of default size in JSON.
const MOST: u64 = 256;
/// Of a verb that ended with another exit code than 0: `metav1.StatusReason`, and the cause that
/// has the code.
const NON_ZERO: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";

/// What each agent answers, in the order of nodes.
pub(super) async fn all(nodes: &Nodes<'_>, words: &[String]) -> Result<Vec<Answer>> {
    within(nodes, words, |_| nodes.agents.timeout).await
}

/// The same, with a limit for each node.
pub(super) async fn within(
    nodes: &Nodes<'_>,
    words: &[String],
    limit: impl Fn(&str) -> Duration,
) -> Result<Vec<Answer>> {
    let limit = &limit;
    let asked = pods::find(nodes)
        .await?
        .into_iter()
        .map(|(node, pod)| async move {
            let (pod, said) = match pod {
                Ok(pod) => {
                    let name = format!("{}/{}", pod.namespace, pod.name);
                    (Some(name), in_time(nodes, &pod, words, limit(&node)).await)
                }
                Err(error) => (None, Err(error)),
            };
            Answer { node, pod, said }
        });
    let at_once = nodes.agents.at_once.into();
    Ok(stream::iter(asked).buffered(at_once).collect().await)
}

async fn in_time(
    nodes: &Nodes<'_>,
    pod: &AgentPod,
    words: &[String],
    limit: Duration,
) -> Result<Said> {
    let AgentPod {
        namespace,
        name,
        container: _,
        unfit,
    } = pod;
    if let Some(why) = unfit {
        bail!("pod {namespace}/{name} {why}");
    }
    tokio::time::timeout(limit, exec(nodes, pod, words))
        .await
        .with_context(|| format!("pod {namespace}/{name} has not answered in {limit:?}"))?
        .with_context(|| format!("run lb-agent in pod {namespace}/{name}"))
}

async fn exec(nodes: &Nodes<'_>, pod: &AgentPod, words: &[String]) -> Result<Said> {
    let api: Api<Pod> = Api::namespaced(nodes.client.clone(), &pod.namespace);
    let params = AttachParams::default()
        .container(&pod.container)
        .stdin(false)
        .stdout(true)
        .stderr(true)
        .max_stdout_buf_size(BUFFER);
    let command = [PROGRAM]
        .into_iter()
        .chain(words.iter().map(String::as_str));
    let mut process = api.exec(&pod.name, command, &params).await?;
    let status = process.take_status().context("no status is sent")?;
    let (out, err) = (process.stdout(), process.stderr());
    let ended = async { Ok(status.await) };
    let (out, err, status) = tokio::try_join!(whole(out, MOST), whole(err, MOST), ended)?;
    process.join().await.context("the connection broke")?;
    Ok(Said {
        out,
        err,
        code: code(status.context("the connection broke before the command ended")?)?,
    })
}

async fn whole(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut left = stream.take(most << 20);
        left.read_to_end(&mut bytes).await.context("read")?;
        let mut rest = left.into_inner().take(1);
        let more = rest.read(&mut [0]).await.context("read")?;
        ensure!(more == 0, "it says more than {most} MiB: ask for less");
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The exit code; an error where the command has not run.
fn code(status: ExecStatus) -> Result<i32> {
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    if status.reason.as_deref() == Some(NON_ZERO) {
        let causes = status.details.into_iter().filter_map(|d| d.causes);
        let mut causes = causes.flatten();
        let code = causes.find(|cause| cause.reason.as_deref() == Some(EXIT_CODE));
        let code = code.and_then(|cause| cause.message?.parse().ok());
        return code.context("a status without its exit code");
    }
    Err(anyhow!(
        "{}",
        status
            .message
            .unwrap_or_else(|| "it has not run".to_owned())
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_ends_with_its_code_or_has_not_run() {
        let of = |value| code(serde_json::from_value(value).unwrap());
        assert_eq!(of(json!({"status": "Success"})).unwrap(), 0);
        let failed = json!({
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        });
        assert_eq!(of(failed).unwrap(), 3);
        let absent = json!({"status": "Failure", "message": "no such container"});
        let error = of(absent).unwrap_err().to_string();
        assert_eq!(error, "no such container");
    }

    #[tokio::test]
    async fn what_is_read_of_a_node_has_a_bound() {
        let mib = vec![b'x'; 1 << 20];
        let all = whole(Some(&mib[..]), 1).await.unwrap();
        assert_eq!(all.len(), mib.len());
        let longer = [&mib[..], b"y"].concat();
        let error = whole(Some(&longer[..]), 1).await.unwrap_err();
        assert_eq!(error.to_string(), "it says more than 1 MiB: ask for less");
    }
}

//! The agent's own socket, `<state-dir>/agent.sock`: what verbs ask a running agent. Only root
//! reaches it, and nothing can be changed through it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Path as Segment, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
};
use tracing::warn;

use crate::kept;

/// Name of the socket in the state directory.
const SOCKET: &str = "agent.sock";

/// Questions that wait for the event loop.
const QUEUE: usize = 8;

/// A question to the event loop.
#[derive(Debug)]
pub struct Asked {
    /// The name of a Service.
    pub name: String,
    /// Its namespace; `None`: any.
    pub namespace: Option<String>,
    /// Takes the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// What the event loop knows.
#[derive(Debug)]
pub enum Answer {
    /// The explanation.
    Found(serde_json::Value),
    /// No Service of this name.
    NotFound,
    /// Several, by `namespace/name`.
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Where {
    namespace: Option<String>,
}

/// Where the socket is.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

/// Serves, in a task of its own; returns the questions. Without the socket the agent works all the
/// same.
#[must_use]
pub fn start(state_dir: &Path) -> mpsc::Receiver<Asked> {
    let (sender, questions) = mpsc::channel(QUEUE);
    match bind(state_dir) {
        Ok(listener) => {
            let routes = Router::new()
                .route("/explain/{name}", get(explain))
                .with_state(sender);
            tokio::spawn(async move { axum::serve(listener, routes).await });
        }
        Err(error) => {
            warn!(error = %format!("{error:#}"), "`explain` cannot ask this agent: see --state-dir");
        }
    }
    questions
}

/// Under another name first, so that nobody finds it before it is root's alone.
fn bind(state_dir: &Path) -> Result<UnixListener> {
    let path = path(state_dir);
    let shown = path.display();
    fs::create_dir_all(state_dir).with_context(|| format!("make {}", state_dir.display()))?;
    let new = kept::unfinished(&path);
    // Left behind by an agent that was killed in the middle of this.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).with_context(|| format!("bind {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("make {} root's alone", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("put {shown} in its place"))?;
    Ok(listener)
}

async fn explain(
    State(questions): State<mpsc::Sender<Asked>>,
    Segment(name): Segment<String>,
    Query(Where { namespace }): Query<Where>,
) -> Response {
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        name,
        namespace,
        answer,
    };
    if questions.send(asked).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending").into_response();
    }
    match answered.await {
        Ok(Answer::Found(value)) => Json(value).into_response(),
        Ok(Answer::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Ok(Answer::Several(all)) => (StatusCode::CONFLICT, all.join(", ")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending").into_response(),
    }
}

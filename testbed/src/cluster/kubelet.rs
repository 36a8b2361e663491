//! A kubelet's part in `kubectl exec`: the API server passes the client's WebSocket on to it, and it
//! runs the command on its node. Protocol: `v5.channel.k8s.io`, as in
//! `k8s.io/apimachinery/pkg/util/remotecommand` and `k8s.io/streaming/pkg/httpstream/wsstream`.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Node as ApiNode;
use serde_json::{Value, json};
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, Uri, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

use super::ControlPlane;
use crate::{node::Node, process, sandbox::Sandbox};

/// Where API servers find it.
const PORT: u16 = 10250;
const PROTOCOL: &str = "v5.channel.k8s.io";
/// With this in a Node's status, the API server leaves the WebSocket to the kubelet.
const FEATURE: &str = "ExtendWebSocketsToKubelet";
/// Channels.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// How long its threads may take to end.
const END: Duration = Duration::from_secs(5);

/// Gone with this value.
#[derive(Debug)]
pub struct Kubelet(Option<Runtime>);

impl Kubelet {
    /// Starts it on the node's first address. A command's first word is replaced by `program`, and
    /// the command gets these variables.
    pub fn start(
        control_plane: &ControlPlane,
        node: &Node,
        program: &Path,
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let [address, ..] = node.addr().ips();
        let listener = listen(node, address)?;
        let certs = control_plane.dir().join("certs");
        let acceptor = TlsAcceptor::from(Arc::new(tls(&certs)?));
        let mut words = vec!["env".to_owned()];
        words.extend(
            variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        words.push(program.display().to_string());
        let place = Arc::new(Place {
            sandbox: node.sandbox().clone(),
            words,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start a runtime")?;
        let guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).context("use a listener")?;
        drop(guard);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, place) = (acceptor.clone(), Arc::clone(&place));
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, acceptor, &place).await {
                        eprintln!("kubelet: {error:#}");
                    }
                });
            }
        });
        let status = json!({"status": {
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
            "declaredFeatures": [FEATURE],
        }});
        let api = control_plane.client();
        api.patch_global_status::<ApiNode>(node.name(), status)?;
        Ok(Self(Some(runtime)))
    }

    /// One that takes connections, and says nothing.
    pub fn silent(node: &Node) -> Result<TcpListener> {
        let [address, ..] = node.addr().ips();
        listen(node, address)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(END);
        }
    }
}

/// Where commands run.
struct Place {
    sandbox: Sandbox,
    /// In front of a command's own.
    words: Vec<String>,
}

fn listen(node: &Node, address: IpAddr) -> Result<TcpListener> {
    node.netns().block(|| {
        let listener = TcpListener::bind(SocketAddr::new(address, PORT)).context("listen")?;
        listener.set_nonblocking(true).context("listen")?;
        Ok(listener)
    })
}

/// The API server's own certificate: it asks for no other one.
fn tls(certs: &Path) -> Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certs.join("apiserver.crt"))
        .context("read the certificate")?
        .collect::<Result<Vec<_>, _>>()
        .context("read the certificate")?;
    let key = PrivateKeyDer::from_pem_file(certs.join("apiserver.key")).context("read the key")?;
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("use the certificate")
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, place: &Place) -> Result<()> {
    let stream = acceptor.accept(stream).await.context("TLS")?;
    let mut asked = None;
    #[expect(
        clippy::result_large_err,
        reason = "what a callback answers is the library's type"
    )]
    let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        asked = Some(request.uri().clone());
        let protocol = HeaderValue::from_static(PROTOCOL);
        response
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, answer)
        .await
        .context("WebSocket")?;
    let words = command(&asked.context("no request")?);
    let line = [&place.words[..], words.get(1..).unwrap_or_default()].concat();
    let mut command = tokio::process::Command::from(process::command(&place.sandbox, &line)?);
    // A client that leaves ends its command.
    command.stdin(Stdio::null()).kill_on_drop(true);
    let running = command.output();
    let gone = async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    let done = tokio::select! {
        done = running => done.context("run the command")?,
        () = gone => return Ok(()),
    };
    let status = status(done.status.code()).to_string();
    for (channel, bytes) in [
        (STDOUT, &done.stdout[..]),
        (STDERR, &done.stderr),
        (STATUS, status.as_bytes()),
    ] {
        // As a kubelet does, which copies what it reads.
        for part in bytes.chunks(32 << 10) {
            let message = [&[channel], part].concat();
            socket
                .send(Message::binary(message))
                .await
                .context("send")?;
        }
    }
    socket.close(None).await.context("close")
}

/// `metav1.Status`, as a kubelet makes it of an exit code.
fn status(code: Option<i32>) -> Value {
    match code {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        code => {
            let code = code.unwrap_or(137).to_string();
            json!({
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code}]},
            })
        }
    }
}

/// The words of `?command=…&command=…`.
fn command(uri: &Uri) -> Vec<String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let words = pairs.filter_map(|pair| pair.strip_prefix("command="));
    words.map(decoded).collect()
}

/// Percent-encoded, with `+` for a space.
fn decoded(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|d| d.map_or('0', char::from));
                let value = digits.map(|d| d.to_digit(16).unwrap_or_default());
                u8::try_from(value[0] * 16 + value[1]).unwrap_or_default()
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_word_by_word() {
        let uri =
            "/exec/ns/pod/agent?command=%2Flb-agent&command=get&command=--selector%3Da+b&output=1";
        assert_eq!(
            command(&uri.parse().unwrap()),
            ["/lb-agent", "get", "--selector=a b"]
        );
    }
}

//! One HTTP request, written by hand and read byte for byte: what a health checker sees.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{host::Host, poll::patient};

/// For the connection, and for each piece of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200
    pub status: u16,
    /// The first line, whole.
    pub line: String,
    /// Names as they are spelled, sorted.
    pub headers: Vec<(String, String)>,
    /// Whatever follows them.
    pub body: String,
}

impl Answer {
    /// The value of a header, whose name is spelled exactly so.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Asks from there, on a connection of its own.
pub fn ask(from: &Host, to: SocketAddr, method: &str, path: &str) -> Result<Answer> {
    ask_for(from, to, method, path, &to.to_string())
}

/// [`ask`] with this `Host`.
pub fn ask_for(
    from: &Host,
    to: SocketAddr,
    method: &str,
    path: &str,
    host: &str,
) -> Result<Answer> {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let text = from.block(|| exchange(to, &request, patient(PATIENCE)))?;
    parse(&text).with_context(|| format!("{method} {to}{path} was answered by {text:?}"))
}

/// One request and all that is said to it, from the namespace that this is called in. `patience`:
/// for the connection, and for each piece of the answer.
pub(crate) fn exchange(to: SocketAddr, request: &str, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// GET, for what the status is.
pub fn status(from: &Host, to: SocketAddr, path: &str) -> Result<u16> {
    Ok(ask(from, to, "GET", path)?.status)
}

fn parse(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("no end of headers")?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").context("a header without a value")?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers.sort();
    let status = status.context("no status")?;
    ensure!(line.starts_with("HTTP/1.1 "), "another protocol: {line:?}");
    Ok(Answer {
        status,
        line,
        headers,
        body: body.to_owned(),
    })
}

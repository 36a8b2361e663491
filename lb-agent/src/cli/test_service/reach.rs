//! One connection to one address, tried again until the deadline: endpoints may be new.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// One attempt.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Pause between two.
const PAUSE: Duration = Duration::from_millis(500);

/// Connects, and if there is a path, wants status 200 of it.
pub(super) fn reach(address: SocketAddr, path: Option<&str>, deadline: Instant) -> Result<()> {
    retry(deadline, || {
        let mut stream = TcpStream::connect_timeout(&address, ATTEMPT).context("connect")?;
        let Some(path) = path else { return Ok(()) };
        stream
            .set_read_timeout(Some(ATTEMPT))
            .context("set a timeout")?;
        let question = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(question.as_bytes()).context("ask")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("read the answer")?;
        let answer = String::from_utf8_lossy(&answer);
        let first = answer.lines().next().unwrap_or_default();
        ensure!(first.split(' ').nth(1) == Some("200"), "answered {first:?}");
        Ok(())
    })
}

/// The last error, once the deadline is over; at least one attempt.
pub(super) fn retry(deadline: Instant, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        let Err(error) = attempt() else { return Ok(()) };
        if Instant::now() + PAUSE > deadline {
            bail!(error);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        net::TcpListener,
    };

    use super::*;

    /// Serves each answer to one connection.
    fn server(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                // To its end: what is left unread when it closes resets the connection.
                let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
                while asked.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn an_answer_of_another_status_is_none() {
        let address = server(&["HTTP/1.0 503 No\r\n\r\n"]);
        let error = reach(address, Some("/livez"), Instant::now()).unwrap_err();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
    }

    #[test]
    fn it_is_tried_again_until_it_works() {
        let address = server(&["HTTP/1.0 503 No\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nok"]);
        let deadline = Instant::now() + Duration::from_secs(10);
        reach(address, Some("/livez"), deadline).unwrap();
    }

    #[test]
    fn who_refuses_is_named() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = reach(address, None, Instant::now()).unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }
}

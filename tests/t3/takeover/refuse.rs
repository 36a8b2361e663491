//! When nothing is removed: while no agent would take kube-proxy's place, and while a kube-proxy is
//! at work.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use anyhow::{Result, ensure};
use testbed::agent::Start;

use crate::takeover::Stage;

#[test]
fn where_nothing_takes_its_place_it_refuses() -> Result<()> {
    let stage = Stage::new()?;
    stage.like_kube_proxy()?;
    let refused = stage.cleanup(&[])?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(refused.stderr.contains("start it first"), "{refused:?}");
    ensure!(
        stage.tables()?.contains("kube-proxy"),
        "it went all the same"
    );
    let wrong = stage.verb(&["cleanup", "--force"])?;
    assert_eq!(wrong.status.code(), Some(2));
    let forced = stage.cleanup(&["--force"])?;
    ensure!(forced.status.success(), "{forced:?}");
    ensure!(!stage.tables()?.contains("kube-proxy"), "{forced:?}");
    Ok(())
}

/// In a pod without `hostPID`, its processes are not to be seen; it answers on the network that the
/// pod shares with it.
#[test]
fn while_a_kube_proxy_answers_it_refuses_and_check_says_so() -> Result<()> {
    let stage = Stage::new()?;
    let _agent = Start::new()
        .args(&["--metrics-bind-address", "127.0.0.1:10250"])
        .on(&stage.node)?;
    stage.like_kube_proxy()?;
    let listener = (stage.node.netns()).block(|| Ok(TcpListener::bind("127.0.0.1:10249")?))?;
    let stand_in = thread::spawn(move || -> Result<()> {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept()?;
            let asked: Vec<String> = BufReader::new(&stream)
                .lines()
                .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
                .collect::<Result<_, _>>()?;
            ensure!(asked[0].starts_with("GET /proxyMode "), "{asked:?}");
            write!(stream, "HTTP/1.0 200 OK\r\n\r\nnftables")?;
        }
        Ok(())
    });
    let refused = stage.cleanup(&[])?;
    assert_eq!(refused.status.code(), Some(1));
    ensure!(
        refused.stderr.contains("with its mode, nftables"),
        "{refused:?}"
    );
    ensure!(
        stage.tables()?.contains("kube-proxy"),
        "it went all the same"
    );
    let told = stage.verb(&["check"])?.stdout;
    ensure!(told.contains("kube-proxy runs here (127.0.0.1:"), "{told}");
    // Once it has stopped, nothing is in the way.
    stand_in
        .join()
        .map_err(|_| anyhow::anyhow!("the stand-in broke"))??;
    let done = stage.cleanup(&[])?;
    ensure!(done.status.success(), "{done:?}");
    Ok(())
}

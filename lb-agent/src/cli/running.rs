//! Is kube-proxy running on this node? Looks in `/proc`, which shows a Pod only its own processes,
//! and at kube-proxy's metrics address, which a Pod in the host's network reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ask;
use crate::{serve::http::MODE, takeover::kube_proxy_runs};

/// kube-proxy's metrics, on loopback unless it is configured otherwise.
const PORT: u16 = 10249;

/// How kube-proxy was found: by its processes, or by the mode that it reports.
pub(super) fn kube_proxy() -> Option<String> {
    let pids = kube_proxy_runs();
    if !pids.is_empty() {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        return Some(format!("process {}", pids.join(", ")));
    }
    [
        Ipv4Addr::LOCALHOST.into(),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ]
    .into_iter()
    .find_map(|ip| answers(SocketAddr::new(ip, PORT)))
}

/// An agent reports a mode of its own at this address.
fn answers(address: SocketAddr) -> Option<String> {
    let (good, mode) = ask::get(address, "/proxyMode")?;
    let mode = mode.trim();
    let is_word = !mode.is_empty() && mode.bytes().all(|b| b.is_ascii_alphanumeric());
    (good && is_word && mode != MODE).then(|| format!("{address} answers with its mode, {mode}"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    #[test]
    fn a_server_that_reports_a_mode_other_than_ours_is_kube_proxy() {
        for (status, body, is_one) in [
            ("200 OK", "iptables", true),
            ("200 OK", "nftables\n", true),
            ("200 OK", MODE, false),
            ("200 OK", "<html>hello</html>", false),
            ("200 OK", "", false),
            ("404 Not Found", "nftables", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let asked: Vec<String> = BufReader::new(&stream)
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert_eq!(asked[0], "GET /proxyMode HTTP/1.0");
                write!(stream, "HTTP/1.0 {status}\r\n\r\n{body}").unwrap();
            });
            assert_eq!(answers(address).is_some(), is_one, "{status} {body}");
            server.join().unwrap();
        }
    }

    #[test]
    fn kube_proxy_is_not_found_where_none_listens() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        assert_eq!(answers(free.unwrap()), None);
    }
}

//! `lb-agent trace`

use std::{net::IpAddr, time::Duration};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _},
};
use lb_common::{Reason, trace::Hook};

use super::Form;
use crate::{
    model::Cidr,
    settings::flags::{Pins, StateArg, period},
};

/// `lb-agent trace`
#[derive(Args, Debug)]
pub struct Trace {
    /// Whose programs are looked on.
    #[command(flatten)]
    pub pins: Pins,
    /// Where the names are.
    #[command(flatten)]
    pub state: StateArg,
    /// Only what is for this: svc/NAME, svc/NAMESPACE/NAME, or ADDRESS, ADDRESS:PORT, `*:PORT`
    #[arg(value_name = "svc/NAME|ADDRESS:PORT")]
    pub target: Option<String>,
    /// Namespace of the Service and the pods that are named
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only of these clients: an address, a network, or pod/NAME of a pod that is an endpoint
    #[arg(long, value_name = "CIDR|pod/NAME", value_parser = Party::client)]
    pub client: Option<Party>,
    /// Only what such a backend gets: ADDRESS, ADDRESS:PORT, a network, or pod/NAME
    #[arg(long, value_name = "ADDRESS[:PORT]|pod/NAME", value_parser = Party::backend)]
    pub backend: Option<Party>,
    /// Only with this reason; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = reasons())]
    pub reason: Vec<Reason>,
    /// Only what is decided here; may be repeated
    #[arg(long, value_enum, value_name = "HOOK", value_delimiter = ',')]
    pub hook: Vec<TraceHook>,
    /// Only what is refused or dropped
    #[arg(long)]
    pub drops: bool,
    /// Lines a second at most, and how many are left out is told; 0: no limit
    #[arg(long, value_name = "N", default_value = "100", value_parser = limit)]
    pub limit: u32,
    /// End after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so long
    #[arg(long, value_name = "DURATION", value_parser = period)]
    pub duration: Option<Duration>,
    /// How to show it: with json each line is an object
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// Where decisions are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TraceHook {
    /// connect() of TCP and UDP
    Connect,
    /// sendto() and sendmsg() with an address, of UDP
    Sendmsg,
    /// bind() to a node port
    Bind,
    /// XDP
    Xdp,
    /// tc of the node's devices, both directions
    Tc,
    /// tc of `lb0`, both directions
    Lb0,
}

impl TraceHook {
    /// The hooks that the word stands for.
    #[must_use]
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Connect => &[Hook::Connect],
            Self::Sendmsg => &[Hook::Sendmsg],
            Self::Bind => &[Hook::Bind],
            Self::Xdp => &[Hook::Xdp],
            Self::Tc => &[Hook::TcIngress, Hook::TcEgress],
            Self::Lb0 => &[Hook::Lb0Out, Hook::Lb0Back],
        }
    }
}

/// A client or a backend, as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Party {
    /// By its name.
    Pod(String),
    /// By its network, and its port; 0: any.
    Net(Cidr, u16),
}

impl Party {
    fn client(text: &str) -> Result<Self, String> {
        let party = pod_or_net(text);
        party.ok_or_else(|| format!("{text:?} is no address, no network, and not pod/NAME"))
    }

    fn backend(text: &str) -> Result<Self, String> {
        if let Ok(place) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self::Net(Cidr::host(place.ip()), place.port()));
        }
        pod_or_net(text).ok_or_else(|| {
            format!("{text:?} is no address, no ADDRESS:PORT, no network, and not pod/NAME")
        })
    }
}

fn pod_or_net(text: &str) -> Option<Party> {
    let pod = ["pod/", "pods/", "po/"]
        .into_iter()
        .find_map(|kind| text.strip_prefix(kind));
    if let Some(pod) = pod {
        return (!pod.is_empty()).then(|| Party::Pod(pod.to_owned()));
    }
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => Cidr::host(ip),
        Err(_) => Cidr::parse(text)?,
    };
    Some(Party::Net(net, 0))
}

/// `100` and `100/s` are the same.
fn limit(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number
        .parse()
        .map_err(|_| format!("{text:?} is not a number of lines a second, such as 100"))
}

fn reasons() -> impl clap::builder::TypedValueParser<Value = Reason> {
    let names = Reason::ALL
        .iter()
        .map(|reason| PossibleValue::new(reason.name()).help(reason.help().trim()));
    PossibleValuesParser::new(names).try_map(|name| {
        let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
        reason.copied().ok_or("no such reason")
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Verb};

    fn parse(words: &[&str]) -> Result<Trace, clap::Error> {
        let cli = Cli::try_parse_from([&["lb-agent", "trace"], words].concat())?;
        match cli.verb {
            Some(Verb::Trace(trace)) => Ok(trace),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parties_are_addresses_networks_and_pods() {
        let net = |text: &str| Cidr::parse(text).unwrap();
        for (word, expected) in [
            ("10.0.0.1", Party::Net(net("10.0.0.1/32"), 0)),
            ("10.0.0.1:80", Party::Net(net("10.0.0.1/32"), 80)),
            ("[fd00::1]:80", Party::Net(net("fd00::1/128"), 80)),
            ("fd00::/64", Party::Net(net("fd00::/64"), 0)),
            ("pod/web-1", Party::Pod("web-1".to_owned())),
        ] {
            let trace = parse(&["--backend", word]).unwrap();
            assert_eq!(trace.backend, Some(expected), "{word}");
        }
        assert!(parse(&["--client", "10.0.0.1:80"]).is_err());
        assert!(parse(&["--client", "web-1"]).is_err());
        assert!(parse(&["--client", "pod/"]).is_err());
    }

    #[test]
    fn limits_and_reasons_and_hooks_are_read() {
        assert_eq!(parse(&[]).unwrap().limit, 100);
        assert_eq!(parse(&["--limit", "5/s"]).unwrap().limit, 5);
        assert!(parse(&["--limit", "many"]).is_err());
        assert!(parse(&["--count", "0"]).is_err());
        let trace = parse(&["--reason", "pkt_no_flow,sock_no_endpoint"]).unwrap();
        assert_eq!(trace.reason, [Reason::PktNoFlow, Reason::SockNoEndpoint]);
        let error = parse(&["--reason", "pkt_no_flaw"]).unwrap_err().to_string();
        assert!(error.contains("pkt_no_flow"), "{error}");
        let trace = parse(&["--hook", "xdp", "--hook", "tc,lb0"]).unwrap();
        assert_eq!(trace.hook, [TraceHook::Xdp, TraceHook::Tc, TraceHook::Lb0]);
    }
}

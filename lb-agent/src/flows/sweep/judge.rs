//! Which entries of flows are past. Pure.

use lb_common::flow::{Flow, FlowKey, Timeouts, connects, direction, units_of};

use super::SweptMap;

/// A forward entry that was verified more recently than this (in units) is not looked at: its
/// client sends, or sent a moment ago.
const VERIFIED_LATELY: u32 = units_of(120);

/// What an entry says by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is somebody's.
    Live,
    /// It is nobody's.
    Past,
    /// A forward entry: its reply entry knows.
    AsReply,
}

/// What an entry says by itself.
pub(super) fn alone(key: &FlowKey, flow: &Flow, timeouts: &Timeouts, now: u64) -> Verdict {
    // A mark of the takeover, which removes it itself.
    if *key == FlowKey::ADOPTING {
        return Verdict::Live;
    }
    match flow.direction {
        // The time of its last verification stands where a reply entry keeps that of its last
        // packet.
        direction::FORWARD if flow.age(now) > VERIFIED_LATELY => Verdict::AsReply,
        direction::REPLY | direction::NETFILTER if flow.is_past(key.proto, timeouts, now) => {
            Verdict::Past
        }
        _ => Verdict::Live,
    }
}

/// Is a forward entry past that was not verified lately, with this entry under its reply tuple?
pub(super) fn forward(
    key: &FlowKey,
    flow: &Flow,
    reply: Option<&Flow>,
    map: SweptMap,
    timeouts: &Timeouts,
    now: u64,
) -> bool {
    match reply {
        Some(reply) if reply.generation == flow.generation => {
            reply.is_past(key.proto, timeouts, now)
        }
        // Its tuple is another's.
        Some(_) => true,
        // It was driven out; the client's next packet makes it again, as long as the flow may last.
        None => {
            let keep = if !connects(key.proto) {
                timeouts.udp.max(timeouts.udp_stream)
            } else if map == SweptMap::New {
                VERIFIED_LATELY
            } else {
                timeouts.established
            };
            flow.age(now) > keep
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{
        Addr,
        flow::{seen, units},
    };

    use super::*;

    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const TIMES: Timeouts = Timeouts::DEFAULT;

    fn seconds(n: u64) -> u64 {
        n * 1_000_000_000
    }

    fn key(proto: u8) -> FlowKey {
        FlowKey {
            proto,
            sport: 1,
            ..FlowKey::ADOPTING
        }
    }

    fn entry(direction: u8, at: u64) -> Flow {
        Flow {
            src: Addr::ZERO,
            dst: Addr::ZERO,
            sport: 0,
            dport: 0,
            ifindex: 0,
            pool: 0,
            backend: 0,
            generation: 7,
            direction,
            flags: 0,
            client: seen::PACKET | seen::DATA,
            server: seen::PACKET,
            proof: 0,
            seen: units(at),
        }
    }

    #[test]
    fn reply_entries_and_netfilters_are_past_by_their_state() {
        let start = seconds(1_000_000);
        for direction in [direction::REPLY, direction::NETFILTER] {
            let open = entry(direction, start);
            let at = |flow: &Flow, later| alone(&key(TCP), flow, &TIMES, start + seconds(later));
            assert_eq!(at(&open, 24 * 3600), Verdict::Live);
            assert_eq!(at(&open, 24 * 3600 + 10), Verdict::Past);
            let reset = Flow {
                client: seen::PACKET | seen::RST,
                ..open
            };
            assert_eq!(at(&reset, 9), Verdict::Live);
            assert_eq!(at(&reset, 20), Verdict::Past);
        }
    }

    #[test]
    fn the_mark_of_a_takeover_is_never_past() {
        let mark = entry(direction::NETFILTER, 0);
        let late = seconds(10_000_000);
        assert_eq!(
            alone(&FlowKey::ADOPTING, &mark, &TIMES, late),
            Verdict::Live
        );
        assert_eq!(alone(&key(TCP), &mark, &TIMES, late), Verdict::Past);
    }

    #[test]
    fn a_forward_entry_goes_with_its_reply_entry() {
        let start = seconds(1_000_000);
        let own = entry(direction::FORWARD, start);
        let verdict = |later| alone(&key(TCP), &own, &TIMES, start + seconds(later));
        assert_eq!(verdict(100), Verdict::Live);
        assert_eq!(verdict(140), Verdict::AsReply);

        let now = start + seconds(200);
        let is_past = |reply: Option<&Flow>| {
            forward(&key(TCP), &own, reply, SweptMap::Established, &TIMES, now)
        };
        let reply = entry(direction::REPLY, start);
        assert!(!is_past(Some(&reply)), "idle, and open");
        let finished = Flow {
            client: reply.client | seen::FIN | seen::ANSWERED,
            server: reply.server | seen::FIN | seen::ANSWERED,
            ..reply
        };
        assert!(is_past(Some(&finished)), "past TIME_WAIT");
        let other = Flow {
            generation: 9,
            seen: units(now),
            ..reply
        };
        assert!(is_past(Some(&other)), "its tuple is another's");
    }

    #[test]
    fn without_a_reply_entry_it_stays_as_long_as_the_flow_may_last() {
        let start = seconds(1_000_000);
        let own = entry(direction::FORWARD, start);
        let is_past = |proto, map, later| {
            forward(&key(proto), &own, None, map, &TIMES, start + seconds(later))
        };
        assert!(!is_past(TCP, SweptMap::Established, 24 * 3600));
        assert!(is_past(TCP, SweptMap::Established, 24 * 3600 + 10));
        assert!(is_past(TCP, SweptMap::New, 140));
        assert!(!is_past(UDP, SweptMap::Established, 100));
        assert!(is_past(UDP, SweptMap::Established, 140));
    }
}

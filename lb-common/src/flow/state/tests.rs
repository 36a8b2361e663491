use super::*;

const OPENS: Event = Event {
    syn: true,
    fin: false,
    rst: false,
};
const GOES_ON: Event = Event {
    syn: false,
    fin: false,
    rst: false,
};
const ENDS: Event = Event {
    syn: false,
    fin: true,
    rst: false,
};
const RESETS: Event = Event {
    syn: false,
    fin: false,
    rst: true,
};

/// A TCP flow whose sides have done this, most recent packet last.
#[derive(Clone, Copy, Default)]
struct Tcp {
    client: u8,
    server: u8,
}

impl Tcp {
    fn open() -> Self {
        let both = seen::PACKET | seen::DATA;
        Self {
            client: both,
            server: both,
        }
    }

    fn client(mut self, event: Event) -> Self {
        self.client = after(self.client, self.server, event);
        self
    }

    fn server(mut self, event: Event) -> Self {
        self.server = after(self.server, self.client, event);
        self
    }

    fn state(self) -> State {
        State::of(self.client, self.server, true)
    }
}

#[test]
fn a_handshake_is_half_open_until_a_side_has_shown_it_true() {
    let asked = Tcp::default().client(OPENS);
    assert_eq!(asked.state(), State::SynSent);
    let answered = asked.server(OPENS);
    assert_eq!(answered.state(), State::SynReceived);
    assert_eq!(answered.client(GOES_ON).state(), State::SynReceived);
    assert_eq!(Tcp::open().state(), State::Established);
}

#[test]
fn a_connection_is_finished_from_either_side() {
    let half = Tcp::open().client(ENDS);
    assert_eq!(half.state(), State::FinWait);
    let answered = half.server(GOES_ON);
    assert_eq!(answered.state(), State::CloseWait);
    let both = answered.server(ENDS);
    assert_eq!(both.state(), State::LastAck);
    assert_eq!(both.client(GOES_ON).state(), State::TimeWait);

    let half = Tcp::open().server(ENDS);
    assert_eq!(half.state(), State::FinWait);
    assert_eq!(half.client(GOES_ON).state(), State::CloseWait);
    let at_once = half.client(ENDS);
    assert_eq!(at_once.state(), State::LastAck);
    assert_eq!(at_once.server(GOES_ON).state(), State::TimeWait);
}

#[test]
fn a_reset_holds_until_its_sender_speaks_again() {
    let reset = Tcp::open().client(RESETS);
    assert_eq!(reset.state(), State::Closed);
    assert_eq!(reset.server(GOES_ON).state(), State::Closed);
    assert_eq!(reset.client(GOES_ON).state(), State::Established);
    assert!(Tcp::open().server(RESETS).state().is_over());
}

#[test]
fn datagrams_are_a_stream_once_they_last() {
    assert_eq!(State::of(seen::PACKET, 0, false), State::Unanswered);
    assert_eq!(
        State::of(seen::PACKET, seen::PACKET, false),
        State::Answered
    );
    let stream = State::of(seen::PACKET | seen::DATA, seen::PACKET, false);
    assert_eq!(stream, State::Stream);
    let start = began(5_000_000_000);
    assert!(!stream_began(start, 6_900_000_000));
    assert!(stream_began(start, 7_100_000_000));
}

#[test]
fn an_entry_is_kept_for_its_time_and_no_longer_than_two_units_more() {
    const SECOND: u64 = 1_000_000_000;
    let mut flow = crate::flow::testing::reply();
    for (client, server, proto, seconds) in [
        (seen::PACKET, 0, 6, 120),
        (seen::PACKET, seen::PACKET, 6, 60),
        (seen::PACKET | seen::DATA, seen::PACKET, 6, 86_400),
        (seen::RST, seen::PACKET, 6, 10),
        (seen::PACKET, 0, 17, 30),
        (seen::PACKET, seen::PACKET, 17, 30),
        (seen::PACKET | seen::DATA, seen::PACKET, 17, 120),
    ] {
        (flow.client, flow.server) = (client, server);
        for start in [0, 3 * SECOND, (1 << 32) - 1, 77 << 32] {
            flow.seen = units(start);
            let past = |s: u64| flow.is_past(proto, &Timeouts::DEFAULT, start + s * SECOND);
            assert!(!past(seconds), "{seconds} s from {start}");
            assert!(past(seconds + 9), "{seconds} s from {start}");
        }
    }
}

#[test]
fn an_entry_that_another_cpu_touched_later_is_not_past() {
    let mut flow = crate::flow::testing::reply();
    flow.seen = 8;
    assert_eq!(flow.age(7 << 32), 0);
    assert!(!flow.is_past(17, &Timeouts::DEFAULT, 7 << 32));
}

#[test]
fn what_lasts_gives_way_to_nothing() {
    let timeouts = &Timeouts::DEFAULT;
    for state in [State::Established, State::CloseWait, State::Stream] {
        assert_eq!(state.keep_when_short(timeouts), state.keep(timeouts));
    }
    for state in [
        State::SynSent,
        State::SynReceived,
        State::FinWait,
        State::LastAck,
        State::TimeWait,
        State::Closed,
        State::Unanswered,
        State::Answered,
    ] {
        assert!(state.keep_when_short(timeouts) < state.keep(timeouts));
    }
}

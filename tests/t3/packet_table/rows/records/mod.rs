//! Flow records that are lost, moved, or of another connection.

mod scene;

use anyhow::Result;
use lb_common::{
    Reason::{
        AffinityMoved, FlowRechosen, FlowRepaired, PktForwarded, PktLocal, PktNoFlow, PktReply,
    },
    flow::direction,
};
use scene::{
    a_moment_later, adopt, forget, give_number_away, handshakes, netfilter,
    remember_the_other_a_moment_later, stop_first, watch,
};
use testbed::probe::Family;

use crate::packet_table::{
    expect::{DROPPED, PASSED, TO_THE_CLIENT, to, to_another, to_one_of, to_the_first_of},
    packet::{ACK, FIN, RST, SYN, syn, tcp, udp},
    plan::{CLIENT, FAR, FAR2, HERE, S_AFFINE, S_FAR, S_HERE, S_PAIR},
    row::{NOTHING, Row, row},
    scene::Scene,
    stage::Place,
};

/// Nanoseconds after which a SYN is sent again.
const SYN_TIMER: u64 = 1_100_000_000;

/// Nanoseconds that a datagram's flow outlives once, and not twice.
const HALF: u64 = 20_000_000_000;

const PAIR: &[crate::packet_table::plan::Backend] = &[FAR, FAR2];

/// A row with an open connection to FAR.
fn open(sentence: &str) -> Row {
    row(sentence)
        .given(syn())
        .then(to(FAR), PktForwarded)
        .given(tcp(SYN | ACK).answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded)
        .records(Place::Established)
}

/// A row with a datagram of S_FAR's and its answer.
fn answered(sentence: &str) -> Row {
    row(sentence)
        .given(udp())
        .then(to(FAR), PktForwarded)
        .given(udp().answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
}

/// The client's side is forgotten, and so much time passes.
fn forget_and_wait(scene: &mut Scene, time: u64) -> Result<()> {
    forget(scene, direction::FORWARD)?;
    scene.state.elapse(time)
}

pub(super) fn rows() -> Vec<Row> {
    [lost(), serving(), watched(), adopted()]
        .into_iter()
        .flatten()
        .collect()
}

fn lost() -> Vec<Row> {
    vec![
        open("a connection that lost its reply record gets it again")
            .meanwhile(|scene, _| forget(scene, direction::REPLY))
            .given(tcp(FIN | ACK).again())
            .then(to(FAR), [FlowRepaired, PktForwarded])
            .given(tcp(ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        open("a connection that lost its forward record finds its backend and its port again")
            .meanwhile(|scene, _| forget(scene, direction::FORWARD))
            .given(tcp(ACK).again())
            .then(to(FAR), [FlowRechosen, PktForwarded]),
        open("a SYN on the tuple of an open connection without its forward record opens none")
            .meanwhile(|scene, _| forget(scene, direction::FORWARD))
            .given(syn().again())
            .then(to(FAR), [FlowRechosen, PktForwarded])
            .given(tcp(ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        open("a connection that lost both records finds its backend and its port again")
            .meanwhile(|scene, _| scene.state.clear())
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        open("a reset of a connection that lost both records is dropped")
            .meanwhile(|scene, _| scene.state.clear())
            .given(tcp(RST).again())
            .then(DROPPED, PktNoFlow),
        row("a new flow that lost its reply record gets it again")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .meanwhile(|scene, _| forget(scene, direction::REPLY))
            .given(udp().again())
            .then(to(FAR), [FlowRepaired, PktForwarded])
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a new flow to a backend of this node that lost its forward record is found again")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .meanwhile(|scene, _| forget(scene, direction::FORWARD))
            .given(udp().again())
            .then(to(HERE), [FlowRechosen, PktLocal]),
        answered("a flow that is past and lost its forward record is another one with its next datagram")
            .meanwhile(|scene, _| forget_and_wait(scene, 2 * HALF))
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        answered("a datagram that finds a flow again without its forward record prolongs it")
            .meanwhile(|scene, _| forget_and_wait(scene, HALF))
            .given(udp().again())
            .then(to(FAR), [FlowRechosen, PktForwarded])
            .meanwhile(|scene, _| scene.state.elapse(HALF))
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("an answer whose reply record is lost leaves as the backend sent it")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .meanwhile(|scene, _| forget(scene, direction::REPLY))
            .given(udp().answer(None))
            .then(PASSED, NOTHING),
        open("a SYN on the tuple of a connection that both sides closed opens another one")
            .given(tcp(FIN | ACK).again())
            .then(to(FAR), PktForwarded)
            .given(tcp(FIN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(syn().again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        open("a SYN on the tuple of a closed connection without its forward record opens another one")
            .given(tcp(FIN | ACK).again())
            .then(to(FAR), PktForwarded)
            .given(tcp(FIN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(|scene, _| forget(scene, direction::FORWARD))
            .given(syn().again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
    ]
}

fn serving() -> Vec<Row> {
    vec![
        row("datagrams go to another backend when theirs stops serving")
            .given(udp().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .meanwhile(stop_first)
            .given(udp().again())
            .then(to_another(PAIR), PktForwarded),
        row("a connection keeps its backend when that stops serving")
            .given(syn().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(stop_first)
            .given(tcp(ACK).again())
            .then(to_the_first_of(PAIR), PktForwarded),
        row("a SYN sent again goes to another backend when the first one stops serving")
            .given(syn().to(S_PAIR.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .meanwhile(stop_first)
            .given(syn().again())
            .then(to_another(PAIR), PktForwarded),
        row("session affinity chooses anew when the remembered backend is no longer eligible")
            .given(udp().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(stop_first)
            .given(udp().from(CLIENT.port(42_000)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), [AffinityMoved, PktForwarded]),
        row("an affinity record that another CPU wrote a moment later holds")
            .given(udp().to(S_AFFINE.node_port()))
            .then(to_one_of(PAIR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(remember_the_other_a_moment_later)
            .given(udp().from(CLIENT.port(42_000)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_001)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_002)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_003)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_004)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_005)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded)
            .meanwhile(a_moment_later)
            .given(udp().from(CLIENT.port(42_006)).to(S_AFFINE.node_port()))
            .then(to_another(PAIR), PktForwarded),
        row("datagrams follow their backend's number only as long as it means the same address")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .meanwhile(|scene, family| give_number_away(scene, family, 17))
            .given(udp().again())
            .then(to_another(&[FAR2]), PktForwarded),
    ]
}

/// What comes last in a row of a watched pool: a datagram of another flow, before which is looked at
/// what was counted.
fn counted(row: Row, check: fn(&mut Scene, Family) -> Result<()>) -> Row {
    row.meanwhile(check)
        .given(udp().from(CLIENT.port(42_000)).to(S_HERE.node_port()))
        .then(to(HERE), PktLocal)
}

fn watched() -> Vec<Row> {
    vec![
        counted(
            row("a reset that answers the SYN of a watched pool is a handshake that failed")
                .meanwhile(watch)
                .given(syn())
                .then(to(FAR), PktForwarded)
                .given(tcp(RST | ACK).answer(FAR.way))
                .then(TO_THE_CLIENT, PktReply),
            |scene, _| handshakes(scene, 1, 0),
        ),
        counted(
            row("a SYN of a watched pool that comes again failed, and its answer is one")
                .meanwhile(watch)
                .given(syn())
                .then(to(FAR), PktForwarded)
                .meanwhile(|scene, _| scene.state.elapse(SYN_TIMER))
                .given(syn().again())
                .then(to(FAR), PktForwarded)
                .meanwhile(|scene, _| handshakes(scene, 1, 0))
                .given(tcp(SYN | ACK).answer(FAR.way))
                .then(TO_THE_CLIENT, PktReply),
            |scene, _| handshakes(scene, 1, 1),
        ),
        counted(
            row("what a backend answers says nothing of another that has its number by now")
                .meanwhile(watch)
                .given(syn())
                .then(to(FAR), PktForwarded)
                .meanwhile(|scene, family| give_number_away(scene, family, 6))
                .given(tcp(RST | ACK).answer(FAR.way))
                .then(TO_THE_CLIENT, PktReply),
            |scene, _| handshakes(scene, 0, 0),
        ),
        counted(
            row("a SYN sent again says nothing of another that has its backend's number by now")
                .meanwhile(watch)
                .given(syn())
                .then(to(FAR), PktForwarded)
                .meanwhile(|scene, family| {
                    give_number_away(scene, family, 6)?;
                    scene.state.elapse(SYN_TIMER)
                })
                .given(syn().again())
                .then(to_another(&[FAR2]), PktForwarded),
            |scene, _| handshakes(scene, 0, 0),
        ),
    ]
}

fn adopted() -> Vec<Row> {
    vec![
        row("a segment of a connection that kube-proxy opened passes")
            .meanwhile(netfilter)
            .given(tcp(ACK).to(S_FAR.node_port()))
            .then(PASSED, NOTHING),
        row("a SYN on the tuple of a connection that kube-proxy opened is ours")
            .meanwhile(netfilter)
            .given(syn().to(S_FAR.node_port()))
            .then(to(FAR), PktForwarded),
        row("while connections are adopted a segment without a record passes")
            .meanwhile(|scene, _| adopt(scene))
            .given(tcp(ACK))
            .then(PASSED, NOTHING),
        row("while connections are adopted a SYN is balanced")
            .meanwhile(|scene, _| adopt(scene))
            .given(syn())
            .then(to(FAR), PktForwarded),
        row("while connections are adopted a datagram is balanced")
            .meanwhile(|scene, _| adopt(scene))
            .given(udp())
            .then(to(FAR), PktForwarded),
    ]
}

//! Fragments of requests and answers, the first and the later ones.

use lb_common::Reason::{PktForwarded, PktFragment, PktLocal, PktReply, PktVipUnread};

use crate::packet_table::{
    expect::{DROPPED, PASSED, TO_THE_CLIENT, to},
    packet::{ACK, At, Extension, syn, tcp, udp},
    plan::{ELSEWHERE, FAR, HERE, POD, S_FAR, S_HERE},
    row::{Row, row},
    today::today,
};

pub(super) fn rows() -> Vec<Row> {
    let lost = "it passes to the stack untranslated, and the datagram is lost";
    let named = "it leaves with the backend's own address";
    vec![
        row("a fragment of a datagram that is none of ours passes")
            .given(udp().fragment(0, true).to(ELSEWHERE))
            .then(PASSED, PktFragment),
        row("a later fragment whose first one has not come passes")
            .given(udp().fragment(1480, false))
            .then(PASSED, PktFragment),
        row("a first fragment that ends within the TCP header passes")
            .given(syn().fragment(0, true).cut(4))
            .then(PASSED, PktFragment),
        row("a first fragment without any transport header passes")
            .given(udp().fragment(0, true).payload(0).cut(8))
            .then(PASSED, PktFragment),
        row("the first fragment of a datagram goes to its backend")
            .given(udp().fragment(0, true).payload(64))
            .then(to(FAR), PktForwarded)
            .known_wrong("K1", lost, today(PASSED, PktFragment)),
        row("the later fragments of a datagram follow the first one")
            .given(udp().fragment(0, true).payload(64))
            .then(to(FAR), PktForwarded)
            .given(udp().fragment(72, false).payload(40))
            .then(to(FAR), PktForwarded)
            .known_wrong("K1", lost, today(PASSED, PktFragment).of(1)),
        row("the fragments of a datagram for a backend of this node are translated")
            .given(udp().fragment(0, true).payload(64).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().fragment(72, false).payload(40).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .known_wrong("K1", lost, today(PASSED, PktFragment).of(1)),
        row("the first fragment of a segment goes to its backend")
            .given(tcp(ACK).fragment(0, true).payload(60))
            .then(to(FAR), PktForwarded)
            .known_wrong("K1", lost, today(PASSED, PktFragment)),
        row("a fragmented answer of a backend of this node leaves from the VIP")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().fragment(0, true).payload(64).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .known_wrong("K1", named, today(PASSED, PktFragment)),
        row("a fragmented answer of a backend of another node reaches the client")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().fragment(0, true).payload(64).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .known_wrong("K1", lost, today(PASSED, PktFragment)),
        row("a pod's fragmented datagram for a cluster IP goes to its backend")
            .given(
                udp()
                    .fragment(0, true)
                    .payload(64)
                    .from(POD)
                    .to(S_FAR.vip())
                    .at(At::Lb0),
            )
            .then(to(FAR), PktForwarded)
            .known_wrong("K1", "it is dropped on lb0", today(DROPPED, PktVipUnread)),
        row("a whole packet with a fragment header goes to its backend")
            .given(udp().extension(Extension::Atomic))
            .then(to(FAR), PktForwarded)
            .v6()
            .known_wrong("K1", lost, today(PASSED, PktFragment)),
    ]
}

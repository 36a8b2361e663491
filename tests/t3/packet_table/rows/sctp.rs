//! Packets of SCTP by their first chunk.

use lb_common::Reason::{PktForwarded, PktLocal, PktMalformed, PktNoFlow, PktReply, XdpToTc};

use crate::packet_table::{
    expect::{DROPPED, PASSED, TO_THE_CLIENT, to},
    packet::{At, Sum, chunk, sctp},
    plan::{FAR, HERE, POD, S_FAR, S_HERE, S_SLOW, SLOW},
    row::{Hook, NOTHING, Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("an INIT ACK without an association answers another one and passes")
            .given(sctp(chunk::INIT_ACK))
            .then(PASSED, NOTHING),
        row("an ABORT without an association is dropped")
            .given(sctp(chunk::ABORT))
            .then(DROPPED, PktNoFlow)
            .records(Place::Nowhere),
        row("an ABORT of the client reaches the backend")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::ABORT).again())
            .then(to(FAR), PktForwarded),
        row("an ABORT of the backend reaches the client")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::ABORT).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("an association with a backend of this node is answered from the node port")
            .given(sctp(chunk::INIT).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(sctp(chunk::INIT_ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("an association of a pod goes over lb0 and back")
            .given(sctp(chunk::INIT).from(POD).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(sctp(chunk::INIT_ACK).answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply),
        row("an association ends by SHUTDOWN COMPLETE")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::INIT_ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(sctp(chunk::SHUTDOWN).again())
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::SHUTDOWN_ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(sctp(chunk::SHUTDOWN_COMPLETE).again())
            .then(to(FAR), PktForwarded),
        row("a wrong CRC stays as wrong as it was")
            .given(sctp(chunk::INIT).sum(Sum::Wrong))
            .then(to(FAR), PktForwarded),
        row("a CRC that is still to be made stays so, and tc carries the packet")
            .given(sctp(chunk::INIT).sum(Sum::Zero))
            .then(to(FAR), PktForwarded),
        row("a CRC that is still to be made: XDP says that it leaves the packet to tc")
            .given(sctp(chunk::INIT).sum(Sum::Zero).to(S_HERE.node_port()))
            .then(to(HERE), [XdpToTc, PktLocal])
            .only(Hook::XDP),
        row("an INIT out by a device without XDP")
            .given(sctp(chunk::INIT).to(S_SLOW.node_port()))
            .then(to(SLOW), PktForwarded),
        row("a packet of SCTP that ends within its common header is not read")
            .given(sctp(chunk::INIT).cut(28))
            .then(PASSED, PktMalformed),
    ];
    for (kind, name) in [
        (chunk::DATA, "DATA"),
        (chunk::SACK, "SACK"),
        (chunk::HEARTBEAT, "HEARTBEAT"),
        (chunk::SHUTDOWN, "SHUTDOWN"),
        (chunk::SHUTDOWN_ACK, "SHUTDOWN ACK"),
        (chunk::COOKIE_ECHO, "COOKIE ECHO"),
        (chunk::SHUTDOWN_COMPLETE, "SHUTDOWN COMPLETE"),
        (0x80, "an unknown chunk"),
    ] {
        rows.push(
            row(format!("{name} without an association goes to a backend"))
                .given(sctp(kind).to(S_FAR.node_port()))
                .then(to(FAR), PktForwarded),
        );
    }
    for length in [0, 1, 3, 1200] {
        rows.push(
            row(format!(
                "the CRC of an INIT with {length} bytes is right after its ports changed"
            ))
            .given(sctp(chunk::INIT).payload(length))
            .then(to(FAR), PktForwarded),
        );
    }
    rows
}

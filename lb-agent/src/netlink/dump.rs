//! A list of the kernel's, read without a task: for callers that hold no runtime, on sockets of any
//! netlink protocol, in the calling thread's network namespace.

use std::{io, ops::ControlFlow};

use nix::sys::{
    socket::{setsockopt, sockopt},
    time::TimeVal,
};
use rtnetlink::{
    packet_core::{
        NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
        NetlinkPayload, NetlinkSerializable,
    },
    sys::{Socket, SocketAddr},
};

/// The kernel answers at once; to wait for ever would be a fault of ours.
const PATIENCE_SECS: i64 = 10;
/// Netlink messages begin at multiples of this.
const ALIGN: usize = 4;

/// Everything that the kernel lists in answer to `request`.
pub fn dump<Q, A>(protocol: isize, request: Q) -> io::Result<Vec<A>>
where
    Q: NetlinkSerializable,
    A: NetlinkDeserializable,
{
    let mut all = Vec::new();
    scan(protocol, request, |found| {
        all.push(found);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Hands on what the kernel lists in answer to `request`, until `take` breaks off.
pub fn scan<Q, A>(
    protocol: isize,
    request: Q,
    mut take: impl FnMut(A) -> ControlFlow<()>,
) -> io::Result<()>
where
    Q: NetlinkSerializable,
    A: NetlinkDeserializable,
{
    let socket = Socket::new(protocol)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let patience = TimeVal::new(PATIENCE_SECS, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;

    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    loop {
        let (bytes, _) = socket.recv_from_full()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message: NetlinkMessage<A> =
                NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            let code = match message.payload {
                NetlinkPayload::InnerMessage(found) => {
                    if take(found).is_break() {
                        return Ok(());
                    }
                    None
                }
                NetlinkPayload::Done(done) => Some(done.code),
                NetlinkPayload::Error(error) => Some(error.raw_code()),
                _ => None,
            };
            match code {
                Some(0) => return Ok(()),
                Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                None => {}
            }
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            let next = length.max(1).next_multiple_of(ALIGN);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

//! The socket to netfilter: requests, lists and transactions. A list that changed while it was read
//! is read again.

use std::{
    io::{Error, ErrorKind, Result},
    ops::ControlFlow,
    os::fd::{AsRawFd as _, OwnedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
        sockopt,
    },
    time::TimeVal,
};

use super::message::Message;

/// The kernel answers at once. Waiting longer would hide a bug of the agent.
const PATIENCE_SECS: i64 = 10;
/// The kernel never sends more in one piece.
const PIECE: usize = 1 << 16;
/// For whole transactions; the kernel allows it to `CAP_NET_ADMIN` beyond its own limit.
const BUFFER: usize = 8 << 20;
/// How often a list that changed meanwhile is read again before it is used as it is.
pub(super) const REREADS: usize = 8;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// In the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens one.
    pub fn open() -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        setsockopt(
            &fd,
            sockopt::ReceiveTimeout,
            &TimeVal::new(PATIENCE_SECS, 0),
        )?;
        // If it is refused, the kernel's default is enough for all but very large tables.
        let _ = setsockopt(&fd, sockopt::SndBufForce, &BUFFER);
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &BUFFER);
        Ok(Self { fd, sequence: 0 })
    }

    /// Everything that the kernel lists in answer.
    pub(super) fn list(&mut self, message: &Message) -> Result<Vec<Message>> {
        for _ in 0..REREADS {
            let (all, Consistency::Consistent) = self.list_once(message)? else {
                continue;
            };
            return Ok(all);
        }
        Ok(self.list_once(message)?.0)
    }

    /// The list, and whether it was read while nothing changed.
    fn list_once(&mut self, message: &Message) -> Result<(Vec<Message>, Consistency)> {
        let mut all = Vec::new();
        let consistency = self.scan(message, |message| {
            all.push(message);
            ControlFlow::Continue(())
        })?;
        Ok((all, consistency))
    }

    /// Hands on whatever the kernel lists in answer, once: a list that changes meanwhile may show
    /// something twice or not at all. Where `take` breaks off, no other list can be asked for by this
    /// socket: the kernel still has the rest of this one.
    pub(super) fn scan(
        &mut self,
        message: &Message,
        mut take: impl FnMut(Message) -> ControlFlow<()>,
    ) -> Result<Consistency> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut done = false;
        let mut consistency = Consistency::Consistent;
        while !done {
            self.receive(|header, payload| {
                if header.sequence_number != sequence || done {
                    return Ok(());
                }
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    consistency = Consistency::ChangedMeanwhile;
                }
                match payload {
                    NetlinkPayload::Done(end) => {
                        done = true;
                        failure(end.code)?;
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(message) => done = take(message).is_break(),
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(consistency)
    }

    /// Sends a request, and waits for its answer.
    pub(super) fn request(&mut self, message: &Message) -> Result<()> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        self.acknowledged(sequence, sequence)
    }

    /// A transaction: all of it is done, or nothing. Each message has its own flags, such as
    /// `NLM_F_CREATE`.
    pub(super) fn transact(&mut self, subsystem: u8, messages: &[(Message, u16)]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let begin = Message::bracket(BATCH_BEGIN, subsystem);
        let end = Message::bracket(BATCH_END, subsystem);
        let mut bytes = Vec::new();
        let first = self.put(&mut bytes, &begin, NLM_F_REQUEST);
        let mut last = first;
        for (i, (message, flags)) in messages.iter().enumerate() {
            // One answer for all: that to the last, or to the first that fails.
            let acknowledge = if i + 1 == messages.len() {
                NLM_F_ACK
            } else {
                0
            };
            last = self.put(&mut bytes, message, NLM_F_REQUEST | flags | acknowledge);
        }
        self.put(&mut bytes, &end, NLM_F_REQUEST);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        self.acknowledged(first, last)
    }

    /// Waits for the answer to message `last`, or a refusal of any from `first` on.
    fn acknowledged(&self, first: u32, last: u32) -> Result<()> {
        let mut done = false;
        while !done {
            self.receive(|header, payload| {
                let NetlinkPayload::Error(answer) = payload else {
                    return Ok(());
                };
                let sequence = header.sequence_number;
                if (first..=last).contains(&sequence) {
                    failure(answer.raw_code())?;
                    done |= sequence == last;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn send(&mut self, message: &Message, flags: u16) -> Result<u32> {
        let mut bytes = Vec::new();
        let sequence = self.put(&mut bytes, message, flags);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(sequence)
    }

    /// Appends a message, and returns its sequence number.
    fn put(&mut self, bytes: &mut Vec<u8>, message: &Message, flags: u16) -> u32 {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message =
            NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message.clone()));
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut bytes[start..]);
        self.sequence
    }

    /// One piece, which may hold several messages.
    fn receive(
        &self,
        mut take: impl FnMut(NetlinkHeader, NetlinkPayload<Message>) -> Result<()>,
    ) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        let length = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest)
                .map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
            let used = usize::try_from(message.header.length)
                .unwrap_or(usize::MAX)
                .next_multiple_of(4);
            rest = rest.get(used..).unwrap_or_default();
            let (header, payload) = message.into_parts();
            take(header, payload)?;
        }
        Ok(())
    }
}

/// Whether a list is one state of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Consistency {
    Consistent,
    ChangedMeanwhile,
}

/// A negative number is the kernel's error.
fn failure(code: i32) -> Result<()> {
    if code < 0 {
        return Err(Error::from_raw_os_error(-code));
    }
    Ok(())
}

//! A message of any of netfilter's subsystems: the bytes after netlink's own header.

use std::convert::Infallible;

use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkSerializable};

/// Length of `struct nfgenmsg`: family, version 0, and a 16-bit number.
const HEAD: usize = 4;

/// A message to a subsystem, or from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    /// Subsystem in the high byte, command in the low one.
    pub(super) kind: u16,
    /// See [`super::tables::Family`]; 0 for none.
    pub(super) family: u8,
    /// The subsystem that a batch is for; else 0.
    pub(super) resource: u16,
    /// Behind the head.
    pub(super) attributes: Vec<u8>,
}

impl Message {
    /// To a subsystem.
    pub(super) fn new(
        subsystem: u8,
        command: u8,
        family: u8,
        attributes: &super::attributes::Attributes,
    ) -> Self {
        Self {
            kind: u16::from(subsystem) << 8 | u16::from(command),
            family,
            resource: 0,
            attributes: attributes.bytes().to_vec(),
        }
    }

    /// Begin (16) or end (17) of a batch.
    pub(super) fn bracket(kind: u16, subsystem: u8) -> Self {
        Self {
            kind,
            family: 0,
            resource: subsystem.into(),
            attributes: Vec::new(),
        }
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEAD + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let [high, low] = self.resource.to_be_bytes();
        buffer[..HEAD].copy_from_slice(&[self.family, 0, high, low]);
        buffer[HEAD..HEAD + self.attributes.len()].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            family: payload.first().copied().unwrap_or_default(),
            resource: 0,
            attributes: payload.get(HEAD..).unwrap_or_default().to_vec(),
        })
    }
}

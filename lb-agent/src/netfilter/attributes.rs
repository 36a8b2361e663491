//! Netlink's attributes, written and read.

use netlink_packet_core::{NLA_F_NESTED, NLA_HEADER_SIZE, NlasIterator};

/// Attributes one after the other, as a message carries them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// A value as it is. One that no attribute can carry is cut off, which the kernel then refuses.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(NLA_HEADER_SIZE + value.len()).unwrap_or(u16::MAX);
        let value = &value[..usize::from(length) - NLA_HEADER_SIZE];
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A string, which ends with a zero.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// A number in network order.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.with(kind, &number.to_be_bytes())
    }

    /// Attributes in an attribute.
    pub(super) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.with(kind | NLA_F_NESTED, &inner.0)
    }

    /// For a message.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in these bytes: number and value. What cannot be read ends them.
pub(super) fn read(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let length = usize::from(attribute.length());
        Some((
            attribute.kind(),
            attribute.into_inner().get(NLA_HEADER_SIZE..length)?,
        ))
    })
}

/// The attribute of this number.
pub(super) fn find(bytes: &[u8], number: u16) -> Option<&[u8]> {
    read(bytes).find_map(|(kind, value)| (kind == number).then_some(value))
}

/// The attribute at the end of a path of nested ones.
pub(super) fn walk<'b>(bytes: &'b [u8], path: &[u16]) -> Option<&'b [u8]> {
    path.iter().try_fold(bytes, |at, kind| find(at, *kind))
}

/// Are these attributes there, nested ones with what is in them? There may be others: the kernel
/// shows what it was not told, too.
pub(super) fn holds(found: &[u8], wanted: &[u8]) -> bool {
    NlasIterator::new(wanted).all(|attribute| {
        let Ok(attribute) = attribute else {
            return false;
        };
        let length = usize::from(attribute.length());
        let is_nested = attribute.nested_flag();
        let kind = attribute.kind();
        let value = attribute.into_inner().get(NLA_HEADER_SIZE..length);
        let value = value.unwrap_or_default();
        find(found, kind).is_some_and(|found| {
            if is_nested {
                holds(found, value)
            } else {
                found == value
            }
        })
    })
}

/// A string without its final zero.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A number in network order.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// A port in network order.
pub(super) fn port(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Attributes::default().text(1, "web").number(2, 7);
        let all = Attributes::default().nest(5, &inner).with(6, &[1]);
        assert_eq!(all.bytes().len() % 4, 0);
        assert_eq!(walk(all.bytes(), &[5, 1]).map(text), Some("web".to_owned()));
        assert_eq!(walk(all.bytes(), &[5, 2]).and_then(number), Some(7));
        assert_eq!(find(all.bytes(), 6), Some(&[1][..]));
        assert_eq!(walk(all.bytes(), &[5, 9]), None);
    }

    #[test]
    fn what_is_wanted_must_be_there_and_more_may_be() {
        let inner = |value| Attributes::default().text(1, "web").number(2, value);
        let all = |value| Attributes::default().with(6, &[1]).nest(5, &inner(value));
        let wanted = Attributes::default().nest(5, &Attributes::default().number(2, 7));
        assert!(holds(all(7).bytes(), wanted.bytes()));
        assert!(!holds(all(8).bytes(), wanted.bytes()));
        assert!(!holds(wanted.bytes(), all(7).bytes()));
        assert!(holds(all(8).bytes(), all(8).bytes()));
    }

    #[test]
    fn broken_bytes_end_the_list() {
        assert_eq!(read(&[200, 0, 1, 0, 9]).count(), 0);
        assert_eq!(read(&[2, 0, 1, 0]).count(), 0);
        assert_eq!(read(&[]).count(), 0);
    }
}

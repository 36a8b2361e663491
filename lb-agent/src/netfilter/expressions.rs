//! The expressions of a rule of nftables.

use super::attributes::{Attributes, holds, read};

/// The register that values go through.
pub(super) const REGISTER: u32 = 1;

/// A rule's expressions, by name, in their order.
pub(super) fn all(expressions: &[(&str, Attributes)]) -> Attributes {
    expressions
        .iter()
        .fold(Attributes::default(), |all, (name, data)| {
            all.nest(1, &Attributes::default().text(1, name).nest(2, data))
        })
}

/// Are these the expressions of a rule as the kernel shows them, in their order and no others?
pub(super) fn are(found: &[u8], wanted: &Attributes) -> bool {
    let [found, wanted] = [found, wanted.bytes()].map(|all| read(all).collect::<Vec<_>>());
    let pairs = found.iter().zip(&wanted);
    found.len() == wanted.len() && pairs.into_iter().all(|((_, f), (_, w))| holds(f, w))
}

/// Goes on where the register has one of these bits: an expression for the mask, and one for the
/// comparison.
pub(super) fn has_bits(bits: u32) -> [(&'static str, Attributes); 2] {
    let value = |number: u32| Attributes::default().with(1, &number.to_ne_bytes());
    let mask = Attributes::default()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, 4)
        .nest(4, &value(bits))
        .nest(5, &value(0));
    // Operator 1 is "not equal".
    let compare = Attributes::default()
        .number(1, REGISTER)
        .number(2, 1)
        .nest(3, &value(0));
    [("bitwise", mask), ("cmp", compare)]
}

/// A comment as `nft` keeps it: type 0, length, the string with its final zero.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[0, length], text.as_bytes(), &[0]].concat()
}

//! What the marks of rows mean: behaviour that is known to be wrong, one sentence a number. A row
//! that bears a mark and passes fails the table, and so does one that shows anything else than its mark
//! says, and a mark that no row bears.

/// Number and sentence.
pub(crate) const MARKS: &[(&str, &str)] = &[
    (
        "O9",
        "An endpoint without a node's name at another address of this node cannot be reached.",
    ),
    (
        "O10",
        "A remote backend behind a device that is no node device counts as local.",
    ),
    (
        "O12",
        "A pod of another node counts as a client from outside, under external policy Local.",
    ),
];

/// The sentence of a number.
pub(crate) fn meaning(number: &str) -> Option<&'static str> {
    let found = MARKS.iter().find(|(known, _)| *known == number);
    found.map(|(_, sentence)| *sentence)
}

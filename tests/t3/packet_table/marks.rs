//! What the marks of rows mean: behaviour that is known to be wrong, one sentence a number. A row
//! that bears a mark and passes fails the table, and so does one that shows anything else than its mark
//! says, and a mark that no row bears.

/// Number and sentence.
pub(crate) const MARKS: &[(&str, &str)] = &[];

/// The sentence of a number.
pub(crate) fn meaning(number: &str) -> Option<&'static str> {
    let found = MARKS.iter().find(|(known, _)| *known == number);
    found.map(|(_, sentence)| *sentence)
}

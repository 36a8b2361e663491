//! What the marks of rows mean: behaviour that is known to be wrong, one sentence a number. A row
//! that bears a mark and passes fails the table, and so does one that shows anything else than its mark
//! says, and a mark that no row bears.

/// Number and sentence.
pub(crate) const MARKS: &[(&str, &str)] = &[
    (
        "K2",
        "An IPv4 packet that routers may fragment is refused where the way on is too narrow.",
    ),
    (
        "S3",
        "A flow counts as established by a client's segment that acknowledges nothing.",
    ),
    (
        "S4",
        "The reply record of a connection that is over still translates a direct one's answers.",
    ),
    (
        "S5",
        "A flow follows its backend's id, though the id has another address by now.",
    ),
    (
        "S8",
        "An affinity record that another CPU wrote a moment later counts as expired.",
    ),
    (
        "O1",
        "A Service's flow takes the tuple of an open direct connection to the same backend.",
    ),
    (
        "O3",
        "The answer to a connection of the node's own pods is taken for a client of a node port.",
    ),
    (
        "O8",
        "An endpoint that is itself a Service's address is balanced to, by way of lb0.",
    ),
    (
        "O9",
        "An endpoint without a node's name at another address of this node cannot be reached.",
    ),
    (
        "O10",
        "A remote backend behind a device that is no node device counts as local.",
    ),
    (
        "O11",
        "An endpoint's nodeName, and not the route, says whether a backend is local.",
    ),
    (
        "O12",
        "A pod of another node counts as a client from outside, under external policy Local.",
    ),
    (
        "H1",
        "Packets with a source that the stack would drop as a martian are sent on by tc and XDP.",
    ),
    ("H2", "Refusals are sent without a limit of their rate."),
];

/// The sentence of a number.
pub(crate) fn meaning(number: &str) -> Option<&'static str> {
    let found = MARKS.iter().find(|(known, _)| *known == number);
    found.map(|(_, sentence)| *sentence)
}

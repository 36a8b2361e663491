//! The documents of a YAML text.

/// Each document with the number of its first line. A marker at the start of a line ends a document
/// wherever it stands, even in a block scalar (YAML 1.2 §9.1.2), so lines are enough; what stands
/// between markers without content yields nothing.
#[must_use]
pub fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first, mut at) = (0, 1, 0);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let is_marker = |m| {
            line.strip_prefix(m).is_some_and(|rest: &str| {
                rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])
            })
        };
        if is_marker("---") || is_marker("...") {
            parts.push((first, &text[start..at]));
            // What stands behind the marker on its line belongs to the document.
            start = at + 3;
            first = number;
        }
        at += line.len();
    }
    parts.push((first, &text[start..]));
    if let [(_, before), _, ..] = parts.as_slice()
        && is_blank(before)
    {
        parts.remove(0);
    }
    parts
}

/// Comments and directives alone.
#[must_use]
pub fn is_blank(part: &str) -> bool {
    part.lines()
        .map(str::trim_start)
        .all(|l| l.is_empty() || l.starts_with(['#', '%', '\u{feff}']))
}

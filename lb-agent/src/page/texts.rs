//! What others have written, as far as a page has room for it.

use std::borrow::Cow;

use crate::visible::shortened;

/// Sentences about one Service, and letters of each.
const PROBLEMS: (usize, usize) = (10, 500);
/// Letters of a name: namespace and name of a pod have less. Of an endpoint nobody checks it.
const NAME: usize = 330;

/// The first sentences of what is wrong with a Service.
pub(super) fn problems(all: &[String]) -> Vec<String> {
    let (most, letters) = PROBLEMS;
    let shown = all.iter().take(most);
    let mut shown: Vec<String> = shown.map(|t| shortened(t, letters).into_owned()).collect();
    if all.len() > most {
        let left = all.len() - most;
        shown.push(format!("{left} more: lb-agent get services lists all."));
    }
    shown
}

/// A name, or a dash.
pub(super) fn name(known: Option<&String>) -> Cow<'_, str> {
    known.map_or("–".into(), |name| shortened(name, NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_have_bounds() {
        let few = vec!["a".to_owned(); 10];
        assert_eq!(problems(&few), few);
        let many = vec!["é".repeat(9000); 9000];
        let shown = problems(&many);
        assert_eq!(shown.len(), 11);
        assert_eq!(shown[9], format!("{}...", "é".repeat(500)));
        assert!(shown[10].starts_with("8990 more"));
        let longest = format!("{}/{}", "n".repeat(63), "p".repeat(253));
        assert_eq!(name(Some(&longest)), longest);
        assert!(name(Some(&longest.repeat(9))).len() < 2 * longest.len());
        assert_eq!(name(None), "–");
    }
}

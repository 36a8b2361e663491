//! Weights of endpoints, as a Service's annotation gives them by zone, node and pod.

use lb_common::member;

use crate::visible::shortened;

/// Rules of an annotation at most: each is looked at for each endpoint.
const MOST_RULES: usize = 64;
/// Bytes of a pattern at most: no name of a zone, node or pod is longer (RFC 1123, subdomains).
const MOST_BYTES: usize = 253;
/// Words that cannot be read, and characters of each, that a problem shows.
const SHOWN: (usize, usize) = (3, 40);

/// Rules in the order of the annotation: the first one that an endpoint matches holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Weights(Box<[Rule]>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    of: Of,
    /// A name, in which `*` stands for any characters.
    pattern: Box<str>,
    weight: u16,
}

/// What a rule looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Of {
    Zone,
    Node,
    Pod,
    Any,
}

/// Where an endpoint runs, as far as its slice says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whereabouts<'a> {
    /// `zone`
    pub zone: Option<&'a str>,
    /// `nodeName`
    pub node: Option<&'a str>,
    /// The name in `targetRef`, if that is a pod.
    pub pod: Option<&'a str>,
}

impl Weights {
    /// Reads `zone=a:50, node=n1:0, pod=web-0*:200, *:100`: rules that can be read, a sentence about
    /// those that cannot, and one about rules that are too many.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let words = text.split(',').map(str::trim);
        let mut words = words.filter(|word| !word.is_empty());
        let mut rules = Vec::new();
        let mut wrong = Vec::new();
        for word in words.by_ref().take(MOST_RULES) {
            match Rule::parse(word) {
                Ok(rule) => rules.push(rule),
                Err(why) => wrong.push(format!("{:?} {why}", shortened(word, SHOWN.1))),
            }
        }
        let mut problems = Vec::new();
        if !wrong.is_empty() {
            let others = match wrong.len().saturating_sub(SHOWN.0) {
                0 => String::new(),
                more => format!("; {more} more cannot be read"),
            };
            wrong.truncate(SHOWN.0);
            problems.push(format!(
                "{}{others}: skipped (rules look like zone=a:50, node=n1:0, pod=web-0*:200, *:100)",
                wrong.join("; ")
            ));
        }
        let behind = words.count();
        if behind > 0 {
            problems.push(format!(
                "{} rules are more than {MOST_RULES}: the last {behind} are skipped (let `*` stand for parts of names)",
                MOST_RULES + behind
            ));
        }
        (Self(rules.into()), problems)
    }

    /// The weight of an endpoint, if a rule gives it one.
    #[must_use]
    pub fn of(&self, at: Whereabouts<'_>) -> Option<u16> {
        let rule = self.0.iter().find(|rule| rule.matches(at))?;
        Some(rule.weight)
    }
}

impl Rule {
    fn parse(word: &str) -> Result<Self, String> {
        let (whom, weight) = word.rsplit_once(':').ok_or("has no weight")?;
        let weight = weight
            .trim()
            .parse()
            .map_err(|_| "has a weight that is not in 0-65535")?;
        let (of, pattern) = match whom.trim().split_once('=') {
            Some(("zone", name)) => (Of::Zone, name),
            Some(("node", name)) => (Of::Node, name),
            Some(("pod", name)) => (Of::Pod, name),
            None if whom.trim() == "*" => (Of::Any, "*"),
            _ => return Err("is of none of zone, node, pod and *".to_owned()),
        };
        let pattern = pattern.trim();
        if pattern.is_empty() {
            return Err("names nothing".to_owned());
        }
        if pattern.len() > MOST_BYTES {
            return Err(format!("is longer than any name ({MOST_BYTES} bytes)"));
        }
        Ok(Self {
            of,
            pattern: pattern.into(),
            weight,
        })
    }

    fn matches(&self, at: Whereabouts<'_>) -> bool {
        let name = match self.of {
            Of::Zone => at.zone,
            Of::Node => at.node,
            Of::Pod => at.pod,
            Of::Any => return true,
        };
        name.is_some_and(|name| fits(&self.pattern, name))
    }
}

/// Does the name fit the pattern, in which `*` stands for any characters?
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return name.ends_with(piece);
        }
        match name.find(piece) {
            Some(at) => name = &name[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// A weight as an annotation of a slice gives it: 0 to 65535.
#[must_use]
pub fn of_slice(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}

/// The weight of an endpoint that nobody has given one.
pub const DEFAULT: u16 = member::WEIGHT;

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(zone: &'a str, node: &'a str, pod: &'a str) -> Whereabouts<'a> {
        Whereabouts {
            zone: Some(zone),
            node: Some(node),
            pod: Some(pod),
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let (weights, problems) =
            Weights::parse("node=n1:0, zone=a:50,pod=web-0*:200 , pod=*-canary-*x:7,*:9,");
        assert_eq!(problems, [""; 0]);
        for (whereabouts, weight) in [
            (at("a", "n1", "web-0"), 0),
            (at("a", "n2", "web-0"), 50),
            (at("b", "n2", "web-0-x"), 200),
            (at("b", "n2", "web-1"), 9),
            (at("b", "n2", "web-canary-1x"), 7),
            (at("b", "n2", "web-canary-1"), 9),
            (Whereabouts::default(), 9),
        ] {
            assert_eq!(weights.of(whereabouts), Some(weight), "{whereabouts:?}");
        }
        assert_eq!(
            Weights::parse("pod=web*:3").0.of(Whereabouts::default()),
            None
        );
        assert_eq!(Weights::default().of(at("a", "b", "c")), None);
    }

    #[test]
    fn patterns_of_several_stars_fit_in_order() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*b", "ab", true),
            ("a*b", "a", false),
            ("a*a", "a", false),
            ("*b*", "abc", true),
            ("**c", "abc", true),
            ("a*b*c", "axxbxxc", true),
            ("a*c*b", "axbxc", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_holds() {
        let (weights, problems) =
            Weights::parse("zone=a, rack=7:1, pod=:5, zone=b:65536, zone=c:x, zone=d:1");
        let [problem] = &problems[..] else {
            panic!("one sentence: {problems:?}");
        };
        for said in [
            "\"zone=a\" has no weight; ",
            "\"rack=7:1\" is of none of zone, node, pod and *; ",
            "\"pod=:5\" names nothing; 2 more cannot be read: skipped",
        ] {
            assert!(problem.contains(said), "{problem}");
        }
        assert_eq!(weights.of(at("d", "", "")), Some(1));
        for (word, why) in [
            ("zone=b:65536", "has a weight that is not in 0-65535"),
            ("zone=c:x", "has a weight that is not in 0-65535"),
        ] {
            let (_, problems) = Weights::parse(word);
            assert!(problems[0].starts_with(&format!("{word:?} {why}: skipped")));
        }
    }

    #[test]
    fn rules_and_patterns_are_bounded() {
        let (weights, problems) = Weights::parse(&"pod=a:1,".repeat(200_000));
        assert_eq!((weights.0.len(), problems.len()), (64, 1));
        assert!(problems[0].starts_with("200000 rules are more than 64: the last 199936 are"));
        let name = "n".repeat(253);
        let (weights, problems) = Weights::parse(&format!("node={name}:7,node={name}n:8"));
        assert_eq!(weights.of(at("", &name, "")), Some(7));
        assert_eq!(weights.of(at("", &format!("{name}n"), "")), None);
        assert!(
            problems[0].contains("...\" is longer than any name") && problems[0].len() < 200,
            "{problems:?}"
        );
        let (_, problems) = Weights::parse(&"x".repeat(200_000));
        assert!(problems[0].len() < 200, "{problems:?}");
    }
}

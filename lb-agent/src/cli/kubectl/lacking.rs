//! What is named need not be on every node: a connection is on one.

use anyhow::{Result, anyhow};

use super::{Answer, Said, shown::tell};
use crate::{
    cli::get::filter::{BETWEEN, NOTHING},
    visible,
};

/// What a node without anything of what is named has, in JSON.
pub(super) const NO_ITEMS: &str = "{\"items\": []}";

/// The answers, of which none fails for what it lacks; a node without anything of what is named has
/// `nothing`. Beside them an error, for behind what the others have, if no node has some of it. If no
/// node has any of it, that is all there is to say.
pub(super) fn found_somewhere(
    mut answers: Vec<Answer>,
    nothing: &str,
) -> Result<(Vec<Answer>, Result<()>)> {
    let mut nowhere: Option<Vec<String>> = None;
    let mut is_anything = false;
    for answer in &mut answers {
        let lacking = answer.said.as_mut().map(take_lacking).unwrap_or_default();
        match &mut answer.said {
            Ok(said) if said.out.is_empty() && !lacking.is_empty() => {
                nothing.clone_into(&mut said.out);
            }
            _ => is_anything = true,
        }
        match &mut nowhere {
            Some(names) => names.retain(|name| lacking.contains(name)),
            None => nowhere = Some(lacking),
        }
    }
    let nowhere = nowhere.unwrap_or_default();
    if nowhere.is_empty() {
        return Ok((answers, Ok(())));
    }
    let error = anyhow!("{NOTHING} {}", nowhere.join(BETWEEN));
    if is_anything {
        return Ok((answers, Err(error)));
    }
    for Answer { node, said, .. } in answers {
        tell(&node, &said?.err);
    }
    Err(error)
}

/// What a node says that it lacks. That is no failure of the node: what else it says stays.
fn take_lacking(said: &mut Said) -> Vec<String> {
    let lacking = |line: &str| {
        let line = line.strip_prefix("lb-agent: ").unwrap_or(line);
        let names = line.strip_prefix(NOTHING)?.trim_start();
        Some(names.split(BETWEEN).map(visible::word).collect())
    };
    let Some(names) = said
        .err
        .lines()
        .find_map(lacking)
        .filter(|_| said.code != 0)
    else {
        return Vec::new();
    };
    let others = said.err.lines().filter(|line| lacking(line).is_none());
    said.err = others.flat_map(|line| [line, "\n"]).collect();
    said.code = 0;
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(out: &str, err: &str) -> Answer {
        let said = Said {
            out: out.to_owned(),
            err: err.to_owned(),
            code: i32::from(!err.is_empty()),
        };
        Answer {
            node: "n".to_owned(),
            pod: None,
            said: Ok(said),
        }
    }

    #[test]
    fn what_a_node_has_stays_beside_what_it_lacks() {
        let warning = "lb-agent: some names are not shown: x\n";
        let a = answer("A", &format!("{warning}lb-agent: {NOTHING} svc/b, c\n"));
        let b = answer("B", &format!("lb-agent: {NOTHING} a, c\n"));
        let none = answer("", &format!("lb-agent: {NOTHING} a, svc/b, c\n"));
        let (answers, nowhere) = found_somewhere(vec![a, b, none], "-").unwrap();
        let said: Vec<Said> = answers.into_iter().map(|a| a.said.unwrap()).collect();
        let of = |said: &Said| (said.out.clone(), said.err.clone(), said.code);
        assert_eq!(of(&said[0]), ("A".to_owned(), warning.to_owned(), 0));
        assert_eq!(of(&said[1]), ("B".to_owned(), String::new(), 0));
        assert_eq!(of(&said[2]), ("-".to_owned(), String::new(), 0));
        assert_eq!(nowhere.unwrap_err().to_string(), format!("{NOTHING} c"));
    }

    #[test]
    fn each_name_on_some_node_is_no_error_and_another_failure_is_one() {
        let a = || answer("A", &format!("lb-agent: {NOTHING} b\n"));
        let b = || answer("B", &format!("lb-agent: {NOTHING} a\n"));
        let failed = || answer("", "lb-agent: open lb_flows: no such file\n");
        for answers in [vec![a(), b()], vec![a(), failed()]] {
            let (answers, nowhere) = found_somewhere(answers, "").unwrap();
            assert!(nowhere.is_ok());
            assert_eq!(answers[0].said.as_ref().unwrap().code, 0);
        }
        let (answers, _) = found_somewhere(vec![a(), failed()], "").unwrap();
        assert_eq!(answers[1].said.as_ref().unwrap().code, 1);
    }
}

use anyhow::anyhow;
use serde_json::json;

use super::*;
use crate::cli::{args::CheckOutput, get::filter::NOTHING};

fn answer(node: &str, code: i32, out: &str, err: &str) -> Answer {
    let said = Said {
        out: out.to_owned(),
        err: err.to_owned(),
        code,
    };
    Answer {
        node: node.to_owned(),
        pod: Some(format!("lb/{node}")),
        said: Ok(said),
    }
}

fn silent(node: &str) -> Answer {
    Answer {
        node: node.to_owned(),
        pod: None,
        said: Err(anyhow!("no pod of an agent is on this node")),
    }
}

#[test]
fn a_verb_that_fails_with_an_answer_is_no_node_without_one() {
    let good = || answer("a", 0, "{}", "");
    let failed = || answer("b", 1, "{\"running\": false}", "");
    let broken = || answer("c", 1, "", "lb-agent: open lb_frontends: no such file\n");
    let of = |answers| outcome(&documents(answers));
    assert_eq!(of(vec![good()]), Outcome::Good);
    assert_eq!(of(vec![failed(), good()]), Outcome::Failed);
    assert_eq!(of(vec![good(), broken()]), Outcome::Failed);
    assert_eq!(of(vec![failed(), silent("d")]), Outcome::Silent);
    assert_eq!(of(vec![good(), silent("d")]), Outcome::Silent);
    let (said, worst) = texts(vec![good(), broken()]);
    assert_eq!(said, [("a".to_owned(), "{}".to_owned())]);
    assert_eq!(worst, Outcome::Failed);
    let documents = documents(vec![good(), broken(), silent("d")]);
    let list = serde_json::to_value(list(&documents)).unwrap();
    assert_eq!(
        list["items"],
        json!([
            {"node": "a", "pod": "lb/a", "exitCode": 0, "output": {}},
            {"node": "c", "pod": "lb/c", "exitCode": 1, "error": "open lb_frontends: no such file"},
            {"node": "d", "pod": null, "error": "no pod of an agent is on this node"},
        ])
    );
}

#[test]
fn what_several_nodes_miss_is_one_line() {
    let item = |name, verdict, remedy| json!({"name": name, "verdict": verdict, "remedy": remedy, "docs": "docs/checks.md#x"});
    let of = |items: &[Value]| json!({"items": items}).to_string();
    let ok = item("kernel types", "ok", "");
    let cgroup = item("cgroup", "warn", "mount it");
    let lb0 = item("device lb0", "FAIL", "rename it");
    let documents = documents(vec![
        answer("a", 0, &of(&[ok.clone(), cgroup.clone()]), ""),
        answer("b", 1, &of(&[ok, cgroup, lb0]), ""),
        silent("c"),
    ]);
    let text = check::table(&documents, CheckOutput::Short);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[1][..3], ["all", "warn", "cgroup"]);
    assert_eq!(lines[2][..4], ["b", "FAIL", "device", "lb0"]);
    assert_eq!(lines[3].join(" "), "2 of 5 ok on 2 nodes");
    let text = check::table(&documents, CheckOutput::Table);
    assert!(text.contains("kernel types"), "{text}");
}

#[test]
fn what_is_on_one_node_alone_is_absent_on_no_node() {
    let absent = |node| answer(node, 1, "", &format!("lb-agent: {NOTHING} x\n"));
    let found = || answer("a", 0, "flow/x\n", "");
    let (named, nowhere) = lacking::found_somewhere(vec![found(), absent("b")], "").unwrap();
    assert!(nowhere.is_ok());
    let (texts, outcome) = texts(named);
    let lines: Vec<&str> = texts.iter().flat_map(|(_, text)| text.lines()).collect();
    assert_eq!((lines, outcome), (vec!["flow/x"], Outcome::Good));
    let answers = vec![absent("b"), silent("c")];
    let (json, _) = lacking::found_somewhere(answers, lacking::NO_ITEMS).unwrap();
    let documents = documents(json);
    assert_eq!(documents[0].output.as_ref().unwrap(), &json!({"items": []}));
    assert_eq!(documents[1].code, None);
    let error = lacking::found_somewhere(vec![absent("b"), absent("c")], "").err();
    assert_eq!(error.unwrap().to_string(), format!("{NOTHING} x"));
}

//! Answers what verbs ask about a Service, from what the engine knows and has written.

use std::{collections::HashSet, time::Instant};

use lb_common::Proto;

use crate::{
    explain::{Facts, Programmed, explain},
    model::{ObjectKey, Service},
    plan::{FrontendKey, endpoints::Candidate},
    serve::local::{Answer, Asked},
    sync::Engine,
};

/// Answers one question.
pub(super) fn answer(asked: Asked, engine: &Engine) {
    let Asked {
        name,
        namespace,
        answer,
    } = asked;
    let cluster = engine.cluster();
    let is_it = |key: &&ObjectKey| {
        *key.name == *name && namespace.as_deref().is_none_or(|n| *key.namespace == *n)
    };
    let mut found: Vec<&ObjectKey> = cluster.services().map(|s| &s.key).filter(is_it).collect();
    found.sort();
    let said = match found[..] {
        [] => Answer::NotFound,
        [key] => about(key, engine),
        _ => Answer::Several(found.iter().map(ToString::to_string).collect()),
    };
    // Who asked may have gone.
    let _ = answer.send(said);
}

fn about(key: &ObjectKey, engine: &Engine) -> Answer {
    let cluster = engine.cluster();
    let Some(service) = cluster.service(key) else {
        return Answer::NotFound;
    };
    let facts = Facts {
        service,
        slices: cluster.slices(key),
        zone: cluster.zone().map(|zone| &**zone),
        config: engine.config(),
    };
    let served = engine.served(key);
    let written = Written {
        engine,
        service,
        frontends: served.into_iter().map(|(key, _)| key).collect(),
        problems: engine.problems().remove(key).unwrap_or_default(),
    };
    let explanation = explain(facts, Some(&written));
    serde_json::to_value(explanation).map_or(Answer::NotFound, Answer::Found)
}

struct Written<'a> {
    engine: &'a Engine,
    service: &'a Service,
    frontends: HashSet<FrontendKey>,
    problems: Vec<String>,
}

impl Programmed for Written<'_> {
    fn holds(&self, key: &FrontendKey) -> bool {
        self.frontends.contains(key)
    }
    fn parts(&self, endpoint: &Candidate<'_>, proto: Proto) -> Option<u8> {
        let place = (endpoint.addr, endpoint.port, proto);
        self.engine.parts(self.service, place, Instant::now())
    }

    fn problems(&self) -> Vec<String> {
        self.problems.clone()
    }
}

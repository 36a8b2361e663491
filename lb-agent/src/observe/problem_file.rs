//! The file in which a running agent keeps which Services are only partly programmed, for `get
//! services`, which may run when the agent is dead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    kept::{Content, KeptFile},
    model::ObjectKey,
};

/// Where an agent keeps its problems.
pub type ProblemFile = KeptFile<PartialServices>;

/// A Service that is only partly programmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartiallyProgrammed {
    /// Namespace and name.
    pub service: String,
    /// Sentences that name the field and the remedy.
    pub problems: Vec<String>,
}

/// What the file holds.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartialServices {
    /// Each with its problems, in order.
    pub services: Vec<PartiallyProgrammed>,
}

impl Content for PartialServices {
    const NAME: &'static str = "problems.json";
}

impl From<&BTreeMap<ObjectKey, Vec<String>>> for PartialServices {
    fn from(problems: &BTreeMap<ObjectKey, Vec<String>>) -> Self {
        let services = problems
            .iter()
            .map(|(service, problems)| PartiallyProgrammed {
                service: service.to_string(),
                problems: problems.clone(),
            });
        Self {
            services: services.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kept;

    #[test]
    fn the_file_is_read_for_the_pins_of_the_agent_that_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let file = ProblemFile::of(&state, Path::new("/sys/fs/bpf/lb"));
        assert_eq!(file.load().unwrap().services, []);
        let key = ObjectKey::new("shop", "web");
        let problems = BTreeMap::from([(key, vec!["no".to_owned()])]);
        file.store(PartialServices::from(&problems)).unwrap();
        let found = file.load().unwrap().services;
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].service.as_str(), found[0].problems.len()),
            ("shop/web", 1)
        );
        let other = ProblemFile::of(&state, Path::new("/sys/fs/bpf/other"));
        assert_eq!(other.load().unwrap().services, []);
        kept::remove(file.path()).unwrap();
        assert_eq!(file.load().unwrap().services, []);
        kept::remove(file.path()).unwrap();
    }
}

//! The comparison of two answers to one question: who answered or how it failed, and whom the
//! backends saw. Knows nothing of which differences are meant; those are in [`super::tolerated`].

use std::{collections::BTreeSet, net::IpAddr};

use testbed::probe::{Observation, Outcome};

use crate::{
    plan::Svc,
    question::Question,
    tolerated::{self, Aspect, Toleration},
    world,
};

/// A question with both answers.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// What was asked.
    pub question: &'a Question,
    /// Of which Service.
    pub svc: &'a Svc,
    /// What kube-proxy's world said; with session affinity, what it says without.
    pub theirs: &'a Observation,
    /// What ours said.
    pub ours: &'a Observation,
    /// What kube-proxy's world said to a pod of the node that is asked, see
    /// [`Question::is_halved`].
    pub inside: Option<&'a Observation>,
}

/// What came of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// Differs by one that is listed.
    Tolerated(&'static str),
    /// Differs.
    Differs,
}

impl Case<'_> {
    /// Compares; `pool` is kube-proxy's answer for the same Service without session affinity, if
    /// this one has it.
    #[must_use]
    pub fn judge(&self, pool: Option<&Observation>) -> Verdict {
        if let Some(inside) = self.inside {
            return self.halved(inside);
        }
        let Some(pool) = pool else {
            return self.plain();
        };
        let theirs = Case {
            ours: self.theirs,
            theirs: pool,
            ..self.clone()
        };
        let ours = Case {
            theirs: pool,
            ..self.clone()
        };
        // Each is to answer as the Service without affinity does, but by one backend alone.
        match (theirs.sticky(), ours.sticky()) {
            (Verdict::Differs, _) => Verdict::Differs,
            (_, verdict) => verdict,
        }
    }

    fn plain(&self) -> Verdict {
        if who(self.theirs) != who(self.ours) {
            return self.excuse(Aspect::Who);
        }
        self.addresses()
    }

    /// kube-proxy's own answer is by chance what it is: the other one says who may answer.
    fn halved(&self, inside: &Observation) -> Verdict {
        let is_whole = names(self.ours).len() == names(inside).len();
        if who(self.theirs) == who(self.ours) && is_whole {
            return self.addresses();
        }
        self.excuse(Aspect::Who)
    }

    fn sticky(&self) -> Verdict {
        let (pool, one) = (who(self.theirs), who(self.ours));
        if names(self.theirs).is_empty() || names(self.ours).is_empty() {
            return self.plain();
        }
        if one.len() != 1 || !one.is_subset(&pool) {
            return self.excuse(Aspect::Who);
        }
        self.addresses()
    }

    /// Of the backends that have answered both.
    fn addresses(&self) -> Verdict {
        let mut verdict = Verdict::Same;
        for name in names(self.ours) {
            let (theirs, ours) = (only(self.theirs, &name), only(self.ours, &name));
            if theirs != ours {
                let case = Case {
                    theirs: &theirs,
                    ours: &ours,
                    ..self.clone()
                };
                match case.excuse(Aspect::Address) {
                    Verdict::Differs => return Verdict::Differs,
                    tolerated => verdict = tolerated,
                }
            }
        }
        verdict
    }

    fn excuse(&self, aspect: Aspect) -> Verdict {
        let fits = |one: &&Toleration| one.aspect == aspect && (one.applies)(self);
        tolerated::ALL
            .iter()
            .find(fits)
            .map_or(Verdict::Differs, |one| Verdict::Tolerated(one.name))
    }

    /// Nothing but silence in their world.
    #[must_use]
    pub fn they_are_silent(&self) -> bool {
        *self.theirs == Observation::from([Outcome::Silence])
    }

    /// Nothing in their world, or an answer from where none was asked for.
    #[must_use]
    pub fn they_hear_nothing_good(&self) -> bool {
        let is_bad = |one: &Outcome| matches!(one, Outcome::Silence | Outcome::Odd(_));
        self.theirs.iter().all(is_bad)
    }

    /// Nothing but this error number in their world.
    #[must_use]
    pub fn they_say(&self, errno: i32) -> bool {
        *self.theirs == Observation::from([Outcome::Errno(errno)])
    }

    /// Nothing but silence in ours.
    #[must_use]
    pub fn we_are_silent(&self) -> bool {
        *self.ours == Observation::from([Outcome::Silence])
    }

    /// Nothing but this error number in ours.
    #[must_use]
    pub fn we_say(&self, errno: i32) -> bool {
        *self.ours == Observation::from([Outcome::Errno(errno)])
    }

    /// Only backends answer in ours.
    #[must_use]
    pub fn we_are_answered(&self) -> bool {
        self.ours
            .iter()
            .all(|one| matches!(one, Outcome::Answer { .. }))
    }

    /// Only backends of the node that is asked answer in ours.
    #[must_use]
    pub fn only_near_answer(&self) -> bool {
        let near = self
            .question
            .through
            .pods()
            .map(|number| format!("{}:", world::pod(number).name));
        let is_near = |name: &String| near.iter().any(|pod| name.starts_with(pod));
        self.we_are_answered() && names(self.ours).iter().all(is_near)
    }

    /// Nothing in their world but answers of backends of the node that is asked, silence, and
    /// answers that come from elsewhere.
    #[must_use]
    pub fn they_are_halved(&self) -> bool {
        let near = self.question.through.pods();
        let near = near.map(|number| format!("{}:", world::pod(number).name));
        self.theirs.iter().all(|one| match one {
            Outcome::Answer { name, .. } => near.iter().any(|pod| name.starts_with(pod)),
            Outcome::Silence | Outcome::Odd(_) => true,
            Outcome::Errno(_) => false,
        })
    }

    /// In ours answer exactly those that answer a pod of the node that is asked; with session
    /// affinity, one of them.
    #[must_use]
    pub fn all_inside_answer(&self) -> bool {
        let inside = self.inside.map(names).unwrap_or_default();
        let ours = names(self.ours);
        let enough = if self.svc.affinity.is_some() {
            ours.len() == 1
        } else {
            ours.len() == inside.len()
        };
        self.we_are_answered() && enough && ours.is_subset(&inside)
    }

    /// The addresses that backends saw in their world.
    #[must_use]
    pub fn they_saw(&self) -> BTreeSet<IpAddr> {
        addresses(self.theirs)
    }

    /// The addresses that backends saw in ours.
    #[must_use]
    pub fn we_saw(&self) -> BTreeSet<IpAddr> {
        addresses(self.ours)
    }
}

/// Without what the backends saw.
fn who(observed: &Observation) -> BTreeSet<Outcome> {
    let blank = |outcome: &Outcome| match outcome {
        Outcome::Answer { name, .. } => Outcome::Answer {
            name: name.clone(),
            saw: IpAddr::from([0; 4]),
        },
        other => other.clone(),
    };
    observed.iter().map(blank).collect()
}

/// The backends that answered.
#[must_use]
pub fn names(observed: &Observation) -> BTreeSet<String> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Answer { name, .. } => Some(name.clone()),
        _ => None,
    };
    observed.iter().filter_map(name).collect()
}

fn addresses(observed: &Observation) -> BTreeSet<IpAddr> {
    let saw = |outcome: &Outcome| match outcome {
        Outcome::Answer { saw, .. } => Some(*saw),
        _ => None,
    };
    observed.iter().filter_map(saw).collect()
}

/// The answers of one backend.
fn only(observed: &Observation, wanted: &str) -> Observation {
    let of_it =
        |outcome: &&Outcome| matches!(outcome, Outcome::Answer { name, .. } if name == wanted);
    observed.iter().filter(of_it).cloned().collect()
}

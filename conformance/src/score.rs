//! What came of a round: every question with its answers.

use std::{collections::BTreeMap, fmt};

use testbed::probe::Observation;

use crate::{judge::Verdict, plan::Svc, question::Question};

/// A question that was asked, and both answers.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Which plan.
    pub plan: usize,
    /// Which of its states.
    pub state: usize,
    /// What was asked.
    pub question: Question,
    /// Of which Service.
    pub svc: Svc,
    /// kube-proxy's world.
    pub theirs: Observation,
    /// Ours.
    pub ours: Observation,
    /// kube-proxy's world, of the same Service without session affinity.
    pub pool: Option<Observation>,
    /// The question of that one.
    pub(crate) shadow: Option<Question>,
    /// kube-proxy's world, to a pod of the node that is asked, where the asking one's answers are
    /// halved; of the same Service without session affinity.
    pub inside: Option<Observation>,
    /// From ports that others have used just before, see [`crate::reused`].
    pub reused: Option<Reused>,
    /// What came of it.
    pub verdict: Verdict,
}

/// Both answers to a client whose ports have been used before.
#[derive(Debug, Clone, Default)]
pub struct Reused {
    /// kube-proxy's world.
    pub theirs: Observation,
    /// Ours.
    pub ours: Observation,
    /// kube-proxy's world answers otherwise than from a port of its own.
    pub they_differ: bool,
    /// Ours does.
    pub we_differ: bool,
}

/// A difference that is not meant.
pub type Difference = Answered;

/// What came of a round.
#[derive(Debug, Clone, Default)]
pub struct Score {
    /// Every question.
    pub answered: Vec<Answered>,
    /// Questions that were asked again.
    pub again: usize,
}

impl Score {
    /// What differs and is not meant to.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.answered.iter().filter(|one| one.differs())
    }

    /// How often each difference that is meant was seen.
    #[must_use]
    pub fn tolerated(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for one in &self.answered {
            if let Verdict::Tolerated(name) = one.verdict {
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }

    /// Numbers alone.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let by_port = |one: &&Answered| one.reused.as_ref().is_some_and(|one| one.they_differ);
        Counts {
            asked: self.answered.len(),
            again: self.again,
            theirs_by_port: self.answered.iter().filter(by_port).count(),
            tolerated: self.tolerated(),
        }
    }

    /// Adds another round's.
    pub fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.again += other.again;
    }
}

/// How much was asked, and how often what was seen.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Questions.
    pub asked: usize,
    /// Of these asked again.
    pub again: usize,
    /// Answers in kube-proxy's own world that depend on which port a client has.
    pub theirs_by_port: usize,
    /// Differences that are meant.
    pub tolerated: BTreeMap<&'static str, usize>,
}

impl Counts {
    /// Adds another round's.
    pub fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.again += other.again;
        self.theirs_by_port += other.theirs_by_port;
        for (name, count) in other.tolerated {
            *self.tolerated.entry(name).or_default() += count;
        }
    }
}

impl Answered {
    /// Whether it differs and is not meant to.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.verdict == Verdict::Differs || self.reused.as_ref().is_some_and(|one| one.we_differ)
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "state {}: {}\n  kube-proxy: {:?}\n  lb-agent:   {:?}",
            self.state, self.question, self.theirs, self.ours
        )?;
        if let Some(pool) = &self.pool {
            write!(f, "\n  kube-proxy without session affinity: {pool:?}")?;
        }
        if let Some(inside) = &self.inside {
            write!(f, "\n  kube-proxy to a pod of that node: {inside:?}")?;
        }
        if let Some(reused) = &self.reused {
            write!(
                f,
                "\n  from ports used before: kube-proxy: {:?}\n  lb-agent:   {:?}",
                reused.theirs, reused.ours
            )?;
        }
        Ok(())
    }
}

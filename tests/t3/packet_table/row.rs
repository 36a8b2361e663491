//! One sentence, packets, and what becomes of them.

use anyhow::Result;
use lb_common::Reason;
use testbed::probe::Family;

use crate::packet_table::{
    expect::Then,
    packet::{At, Packet},
    scene::Scene,
    stage::Place,
    today::Today,
};

/// Which programs a packet that comes in passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// tc alone, on a socket buffer whose sums are not verified yet.
    Tc,
    /// The same on one whose whole sum the card has told, which must be kept right.
    TcSummed,
    /// XDP, and tc behind it for what XDP passes.
    Xdp,
    /// tc on a frame from a real wire; only rows that ask for it.
    Wire,
}

impl Hook {
    pub(crate) const ALL: [Self; 3] = [Self::Tc, Self::TcSummed, Self::Xdp];
    pub(crate) const WIRE: &'static [Self] = &[Self::Wire];
    /// Those of tc.
    pub(crate) const TC: &'static [Self] = &[Self::Tc, Self::TcSummed];
    pub(crate) const XDP: &'static [Self] = &[Self::Xdp];
}

/// A change of the maps between two packets.
pub(crate) type Meanwhile = fn(&mut Scene, Family) -> Result<()>;

/// One packet of a row.
pub(crate) struct Step {
    pub(crate) meanwhile: Option<Meanwhile>,
    pub(crate) packet: Packet,
    pub(crate) times: usize,
    pub(crate) then: Then,
    /// Counted by the programs: exactly these.
    pub(crate) counted: Vec<Reason>,
    /// Where flow records stand afterwards.
    pub(crate) place: Option<Place>,
}

/// Says that today's behaviour is not what the row says, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// A number of [`crate::packet_table::marks`].
    pub(crate) number: &'static str,
    /// What happens today, for people.
    pub(crate) said: &'static str,
    /// The same, for the table: a run that shows neither this nor what the row says fails.
    pub(crate) today: Today,
}

/// One row.
pub(crate) struct Row {
    pub(crate) sentence: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) families: Vec<Family>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) mark: Option<Mark>,
    meanwhile: Option<Meanwhile>,
    given: Option<Packet>,
}

/// A row without packets.
pub(crate) fn row(sentence: impl Into<String>) -> Row {
    Row {
        sentence: sentence.into(),
        steps: vec![],
        families: vec![Family::V4, Family::V6],
        hooks: Hook::ALL.to_vec(),
        mark: None,
        meanwhile: None,
        given: None,
    }
}

/// Nothing is counted.
pub(crate) const NOTHING: [Reason; 0] = [];

/// One reason, or several.
pub(crate) trait Counted {
    fn reasons(self) -> Vec<Reason>;
}

impl Counted for Reason {
    fn reasons(self) -> Vec<Reason> {
        vec![self]
    }
}

impl<const N: usize> Counted for [Reason; N] {
    fn reasons(self) -> Vec<Reason> {
        self.to_vec()
    }
}

impl Row {
    /// Next comes this packet.
    pub(crate) fn given(mut self, packet: Packet) -> Self {
        self.given = Some(packet);
        self
    }

    /// That becomes of it, and this is counted.
    pub(crate) fn then(mut self, then: Then, counted: impl Counted) -> Self {
        if let Some(packet) = self.given.take() {
            self.steps.push(Step {
                meanwhile: self.meanwhile.take(),
                packet,
                times: 1,
                then,
                counted: counted.reasons(),
                place: None,
            });
        }
        self
    }

    /// The last packet comes so often.
    pub(crate) fn times(mut self, times: usize) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.times = times;
        }
        self
    }

    /// After the last packet flow records stand there.
    pub(crate) fn records(mut self, place: Place) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.place = Some(place);
        }
        self
    }

    /// Before the next packet the maps are changed.
    pub(crate) fn meanwhile(mut self, change: Meanwhile) -> Self {
        self.meanwhile = Some(change);
        self
    }

    /// The thing exists in IPv4 alone.
    pub(crate) fn v4(mut self) -> Self {
        self.families = vec![Family::V4];
        self
    }

    /// The thing exists in IPv6 alone.
    pub(crate) fn v6(mut self) -> Self {
        self.families = vec![Family::V6];
        self
    }

    /// It can be shown on these hooks alone.
    pub(crate) fn only(mut self, hooks: &[Hook]) -> Self {
        self.hooks = hooks.to_vec();
        self
    }

    /// The row says what is right; today something else happens.
    pub(crate) fn known_wrong(
        mut self,
        number: &'static str,
        said: &'static str,
        today: Today,
    ) -> Self {
        self.mark = Some(Mark {
            number,
            said,
            today,
        });
        self
    }

    /// The hooks it runs on: rows without a packet that comes in on a device need no XDP, and of a
    /// packet that is cut into its own answer the kernel no longer knows the card's sum.
    pub(crate) fn runs_on(&self) -> Vec<Hook> {
        let comes_in = |step: &Step| matches!(step.packet.at, At::Ingress(_));
        let segmented = |step: &Step| step.packet.segment != 0;
        let xdp = self.steps.iter().any(comes_in) && !self.steps.iter().any(segmented);
        let answered = |mark: &Mark| mark.today.then.is_answer();
        let summed = !self.steps.iter().any(|step| step.then.is_answer())
            && !self.mark.as_ref().is_some_and(answered);
        let fits = |hook: &Hook| match hook {
            Hook::Tc | Hook::Wire => true,
            Hook::TcSummed => summed,
            Hook::Xdp => xdp,
        };
        self.hooks.iter().copied().filter(fits).collect()
    }
}

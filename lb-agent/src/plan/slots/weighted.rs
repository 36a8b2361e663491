//! Slots by weight, in the order in which IPVS's `wrr` takes its turns (`ip_vs_wrr.c`): the
//! heaviest alone until the others' weights are reached, then all of those in turn.

/// Slots of a pool at most, unless it has more backends than a quarter of this.
const MOST: usize = 4096;
/// Slots a backend where there are more backends than that.
const EACH: usize = 4;

/// One round.
pub(super) struct Sequence {
    /// Indices into the weights.
    pub(super) places: Vec<usize>,
    /// The weights were too many for the slots.
    pub(super) problem: Option<String>,
    /// They are more than the pool's share of its Service's slots.
    pub(super) few: bool,
}

/// One round of these weights, none of which is 0, within a share of the Service's slots.
pub(super) fn sequence(weights: &[u16], share: usize) -> Sequence {
    let divisor = weights.iter().fold(0, |g, w| gcd(g, *w)).max(1);
    let mut turns: Vec<usize> = weights.iter().map(|w| usize::from(w / divisor)).collect();
    let sum: usize = turns.iter().sum();
    let most = MOST.max(EACH * turns.len()).min(usize::from(u16::MAX));
    let problem = (sum > most).then(|| {
        format!(
            "weights: a round of {} backends takes {sum} turns, more than {most} (the weights divided by {divisor}, which divides all of them): shares are rounded (use smaller weights, or such that share a divisor)",
            turns.len()
        )
    });
    let wanted = sum.min(most);
    let most = most.min(share.max(turns.len()));
    if sum > most {
        scale(&mut turns, sum, most);
    }
    let levels = turns.iter().copied().max().unwrap_or(0);
    let mut places = Vec::with_capacity(sum.min(most));
    for level in (1..=levels).rev() {
        let reached = (0..turns.len()).filter(|i| turns[*i] >= level);
        places.extend(reached);
    }
    Sequence {
        places,
        problem,
        few: wanted > most,
    }
}

/// Brings a sum down to `most`, of which there are as many as turns at least; each keeps one turn.
fn scale(turns: &mut [usize], sum: usize, most: usize) {
    let room = most - turns.len();
    for t in turns {
        *t = (*t * room / sum).max(1);
    }
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

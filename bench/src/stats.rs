//! Medians and spreads.

/// Half of the values are below.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which the fraction `q` of them lies, the nearest one that is there; between two
/// for an even median.
pub(crate) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let last = u32::try_from(last).ok()?;
    let at = q * f64::from(last);
    let pick = |at: f64| {
        sorted
            .iter()
            .zip(0_u32..)
            .find(|(_, i)| f64::from(*i) >= at)
    };
    let (low, high) = (pick(at.floor())?.0, pick(at.ceil())?.0);
    Some(low + (high - low) * (at - at.floor()))
}

/// What a table shows of a row's rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// How many values there are.
    pub(crate) count: usize,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(values)?,
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
            count: values.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_p99_near_the_end() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        let spread = Spread::of(&[2.0, 9.0, 1.0]);
        assert_eq!(
            spread.map(|s| (s.min, s.median, s.max)),
            Some((1.0, 2.0, 9.0))
        );
    }
}

//! The chi-squared test of an even distribution.

/// The probability that chance alone is at least as uneven as these counts, of which each was as
/// likely as any other.
pub(crate) fn evenness(counts: &[u64]) -> f64 {
    let number = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let classes = number(counts.len() as u64);
    let total: f64 = counts.iter().copied().map(number).sum();
    let expected = total / classes;
    let chi: f64 = counts
        .iter()
        .map(|count| (number(*count) - expected).powi(2) / expected)
        .sum();
    upper_gamma((classes - 1.0) / 2.0, chi / 2.0)
}

/// The regularised upper incomplete gamma function: a series for small `x`, else a continued
/// fraction (Abramowitz and Stegun, 6.5.29 and 6.5.31).
fn upper_gamma(a: f64, x: f64) -> f64 {
    const STEPS: u32 = 10_000;
    const SMALL: f64 = 1e-300;
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..STEPS {
            term *= x / (a + f64::from(n));
            sum += term;
            if term < sum * 1e-15 {
                break;
            }
        }
        return 1.0 - scale * sum;
    }
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / SMALL;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..STEPS {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = 1.0 / nonzero(an * d + b, SMALL);
        c = nonzero(b + an / c, SMALL);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    scale * fraction
}

fn nonzero(value: f64, small: f64) -> f64 {
    if value.abs() < small { small } else { value }
}

/// Stirling's series, moved to where it is exact enough.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let square = x * x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x * square)
        + 1.0 / (1260.0 * x * square * square)
        - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_tables_are_found() {
        // Degrees of freedom, chi-squared, probability: any table of the distribution.
        for (freedom, chi, p) in [
            (1.0, 3.841, 0.05),
            (2.0, 9.210, 0.01),
            (9.0, 27.877, 0.001),
            (9.0, 2.088, 0.99),
            (99.0, 123.225, 0.05),
            (999.0, 1074.679, 0.0475),
        ] {
            let found = upper_gamma(freedom / 2.0, chi / 2.0);
            assert!((found - p).abs() < 2e-3, "{freedom} {chi}: {found} not {p}");
        }
        assert!((ln_gamma(5.0) - 24.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn one_in_a_hundred_too_many_is_seen() {
        assert!(evenness(&[50_000, 50_000]) > 0.999);
        assert!(evenness(&[50_800, 49_200]) < 0.001);
        assert!(evenness(&[50_100, 49_900]) > 0.1);
    }
}

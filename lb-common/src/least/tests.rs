use super::*;

const LC: u8 = Scheduler::LeastConnections.number();
const P2C: u8 = Scheduler::TwoChoices.number();

/// One choice among backends with these loads and weights.
fn choose(scheduler: u8, loads: &[u64], weights: &[u32], random: u32) -> usize {
    let count = u16::try_from(loads.len()).unwrap();
    let mut search = Search::new(scheduler, count, random);
    for look in 0..looks(scheduler, count) {
        let at = search.place(look);
        assert!(at < u32::from(count));
        search.consider(at, loads[at as usize], weights[at as usize]);
    }
    search.offset() as usize
}

fn shares(scheduler: u8, loads: &[u64], weights: &[u32], n: u32) -> Vec<f64> {
    let mut bins = vec![0.0; loads.len()];
    for i in 0..n {
        bins[choose(scheduler, loads, weights, hash([i, 77]))] += 1.0;
    }
    bins
}

/// Each within four standard deviations of `n` draws.
fn assert_shares(bins: &[f64], expected: &[f64]) {
    let n: f64 = bins.iter().sum();
    for (bin, p) in bins.iter().zip(expected) {
        let deviation = (n * p * (1.0 - p)).sqrt();
        assert!(
            (bin - n * p).abs() <= 4.0 * deviation + 1e-9,
            "{bins:?} {expected:?}"
        );
    }
}

/// IPVS's `ip_vs_wlc_schedule`, of which ties are left out: the least of load / weight.
fn least(loads: &[u64], weights: &[u32]) -> Vec<usize> {
    let ratio = |i: usize| (loads[i], u64::from(weights[i]));
    let better = |a: usize, b: usize| ratio(a).0 * ratio(b).1 < ratio(b).0 * ratio(a).1;
    (0..loads.len())
        .filter(|i| (0..loads.len()).all(|j| !better(j, *i)))
        .collect()
}

#[test]
fn up_to_64_backends_the_least_is_the_true_least() {
    let mut seed = 1_u32;
    for count in (1..=usize::from(ALL)).chain([2, 3, 64]) {
        for _ in 0..50 {
            let mut next = |below: u32| {
                seed = hash([seed]);
                seed % below
            };
            let loads: Vec<u64> = (0..count).map(|_| u64::from(next(5)) * 256).collect();
            let weights: Vec<u32> = (0..count).map(|_| 1 + next(4)).collect();
            let chosen = choose(LC, &loads, &weights, next(u32::MAX));
            assert!(least(&loads, &weights).contains(&chosen));
        }
    }
}

#[test]
fn ties_spread_evenly_wherever_they_stand() {
    let mut loads = vec![256; 10];
    for free in [0, 1, 7] {
        loads[free] = 0;
    }
    let bins = shares(LC, &loads, &[1; 10], 60_000);
    let third = 1.0 / 3.0;
    assert_shares(
        &bins,
        &[third, third, 0.0, 0.0, 0.0, 0.0, 0.0, third, 0.0, 0.0],
    );
}

#[test]
fn ties_spread_by_weight() {
    let bins = shares(LC, &[0, 0, 0], &[50, 100, 250], 60_000);
    assert_shares(&bins, &[0.125, 0.25, 0.625]);
}

#[test]
fn beyond_64_the_best_of_four_samples_is_taken() {
    let loads: Vec<u64> = (0..200).map(|i| i * 256).collect();
    let weights = [1; 200];
    let bins = shares(LC, &loads, &weights, 40_000);
    // The chance that none of four is among the best half: the first is any, and each other is any
    // but the first.
    let worst_half: f64 = bins[100..].iter().sum::<f64>() / 40_000.0;
    assert!((worst_half - 0.0625).abs() < 0.01, "{worst_half}");
    assert!(bins[..10].iter().all(|n| *n > 0.0));
}

#[test]
fn two_choices_are_two_different_ones_and_the_better_wins() {
    // Of two backends it is always the one with the lesser load.
    assert_shares(&shares(P2C, &[256, 0], &[1, 1], 1000), &[0.0, 1.0]);
    // Of three the worst never wins, and the best wins whenever it is drawn: two of three times.
    let bins = shares(P2C, &[0, 256, 512], &[1, 1, 1], 60_000);
    assert_shares(&bins, &[2.0 / 3.0, 1.0 / 3.0, 0.0]);
}

#[test]
fn loads_stay_balanced_as_connections_come_and_go() {
    for (scheduler, spread) in [(LC, 1), (P2C, 8)] {
        let mut open = vec![0_u64; 20];
        for i in 0..20_000_u32 {
            let loads: Vec<u64> = open.iter().map(|n| n * 256).collect();
            open[choose(scheduler, &loads, &[1; 20], hash([i, 3]))] += 1;
        }
        let (min, max) = (open.iter().min().unwrap(), open.iter().max().unwrap());
        assert!(max - min <= spread, "{open:?}");
    }
}

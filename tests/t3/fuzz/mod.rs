//! Random packets, valid and broken, in sequences, through the kernel's programs and through a model
//! of the same rules: verdict, every byte, counters and flow tables are compared after each.

mod case;
mod compare;
mod draw;
mod model;
mod random;
mod run;
mod tables;

use std::{
    env,
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::{case::Sequence, run::Ran};
use crate::packet_table::{row::Hook, scene::Scene, stage::Node};

/// In the suite, from each seed.
const PACKETS: u64 = 10_000;

/// Seeds of sequences that once differed.
const FOUND: [u64; 1] = [15_442];

/// `LB_FUZZ_PACKETS` packets from the seed `LB_FUZZ_SEED` on; without a seed, from a fixed one, and
/// then from another one each time. Sequences that once differed come first.
#[test]
fn random_packets_are_served_as_the_model_serves_them() -> Result<()> {
    let packets = number("LB_FUZZ_PACKETS")?.unwrap_or(PACKETS);
    let fresh = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let seeds = match number("LB_FUZZ_SEED")? {
        Some(seed) => vec![seed],
        None => vec![1, u64::try_from(fresh & u128::from(u64::MAX >> 1))?],
    };
    let node = Node::new()?;
    node.netns.block(|| {
        let mut scene = Scene::with_few_flows(&node)?;
        FOUND
            .iter()
            .try_for_each(|seed| play(*seed, 1, &mut scene))?;
        seeds
            .iter()
            .try_for_each(|seed| play(*seed, packets, &mut scene))
    })
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(variable) else {
        return Ok(None);
    };
    let number = text.parse();
    Ok(Some(number.with_context(|| {
        format!("{variable}={text} is no number")
    })?))
}

/// Sequences of this seed and those after it, until so many packets have been compared.
fn play(first: u64, packets: u64, scene: &mut Scene) -> Result<()> {
    let summed = scene.lacks(Hook::TcSummed).is_none();
    let (mut compared, mut sequences, mut late, mut unsaid) = (0, 0, 0, 0);
    for seed in first.. {
        if compared >= packets {
            break;
        }
        let sequence = draw::sequence(seed, summed);
        let ran = run::run(&sequence, scene).with_context(|| format!("seed {seed}"))?;
        compared += u64::try_from(ran.packets)?;
        sequences += 1;
        ensure!(
            sequences < 1_000 + packets,
            "the machine is too busy: {compared} packets in {sequences} sequences, of which {late} were left early"
        );
        late += u64::from(ran.late);
        unsaid += u64::from(ran.unsaid);
        if let Some(differs) = ran.differs {
            let (small, differs) = shrink(sequence, differs, scene)?;
            bail!(
                "packet {compared} of the run from seed {first} differs; `cargo xtask soak fuzz --seed {seed} --packets 1` \
                 plays its sequence again. In {:?}, made small:\n{}the last one:\n{differs}",
                small.family,
                run::show_steps(&small)
            );
        }
    }
    // Past the harness, which would hold it back.
    writeln!(
        std::io::stdout().lock(),
        "\nnote: {compared} random packets in {sequences} sequences from seed {first} on, none differs; \
         {late} sequences ended early on a busy machine, {unsaid} where the rules leave it open"
    )?;
    Ok(())
}

/// The shortest sequence that still differs, and how.
fn shrink(
    mut sequence: Sequence,
    mut differs: String,
    scene: &mut Scene,
) -> Result<(Sequence, String)> {
    'smaller: loop {
        for smaller in sequence.smaller() {
            if let Ran {
                differs: Some(said),
                ..
            } = run::run(&smaller, scene)?
            {
                (sequence, differs) = (smaller, said);
                continue 'smaller;
            }
        }
        return Ok((sequence, differs));
    }
}

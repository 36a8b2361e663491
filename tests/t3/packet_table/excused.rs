//! What a run means for the table: a mark excuses what it says and nothing else.

use anyhow::Result;

use crate::packet_table::{row::Mark, run::Verdict};

/// Why a run fails the table, if it does.
pub(super) fn failure(mark: Option<&Mark>, ran: Result<Verdict>) -> Option<String> {
    match (mark, ran) {
        (_, Err(error)) => Some(format!("  the table could not run it: {error:#}\n")),
        (_, Ok(Verdict::Wrong(differs))) => Some(differs),
        (Some(mark), Ok(Verdict::Right)) => Some(format!(
            "  the mark {} is no longer needed here (it said: {})\n",
            mark.number, mark.said
        )),
        (None, Ok(Verdict::AsToday)) => Some("  it is as a mark says that is not there\n".into()),
        (None, Ok(Verdict::Right)) | (Some(_), Ok(Verdict::AsToday)) => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;
    use lb_common::Reason::{PktForwarded, PktLocal};
    use testbed::probe::Family;

    use super::*;
    use crate::packet_table::{
        expect::{DROPPED, PASSED, SUM_BROKEN, to},
        packet::{syn, udp},
        plan::{FAR, FAR2, HERE},
        row::{Hook, NOTHING, Row, row},
        run,
        scene::Scene,
        stage::{Node, Place},
        today::{Flaw, Today, today},
    };

    /// Rows with a mark, made up: only what the mark says excuses a row, and never what the table itself
    /// could not do.
    #[test]
    fn a_mark_excuses_what_it_says_and_nothing_else() -> Result<()> {
        let node = Node::new()?;
        node.netns.block(|| {
            let mut scene = Scene::new(&node)?;
            let mut of = |row: Row| {
                let ran = run::run(&row, Hook::Tc, Family::V4, &mut scene);
                failure(row.mark.as_ref(), ran)
            };
            let wrong = |today: Today| {
                let row = row("a SYN passes, and another one")
                    .given(syn())
                    .then(PASSED, NOTHING);
                let row = row.given(syn().again()).then(to(FAR), PktForwarded);
                row.known_wrong("none", "it is sent on", today)
            };
            let right = to(FAR);
            let said = of(wrong(today(right, PktForwarded).of(1)));
            ensure!(said.is_none(), "{said:?}");
            for (other, today) in [
                ("way", today(to(HERE), PktForwarded).of(1)),
                ("backend", today(to(FAR2), PktForwarded).of(1)),
                ("end", today(DROPPED, PktForwarded).of(1)),
                ("sum", today(SUM_BROKEN, PktForwarded).of(1)),
                ("counter", today(right, PktLocal).of(1)),
                ("no counter", today(right, NOTHING).of(1)),
                (
                    "two counters",
                    today(right, [PktForwarded, PktForwarded]).of(1),
                ),
                (
                    "record",
                    today(right, PktForwarded).of(1).records(Place::Both),
                ),
                (
                    "byte",
                    today(right, PktForwarded).of(1).but(Flaw::QuotedSumKept),
                ),
            ] {
                let said = of(wrong(today)).unwrap_or_default();
                ensure!(
                    said.contains("nor is it what the mark none says"),
                    "another {other}: {said}"
                );
            }

            // Of the second packet, which is right.
            let said = of(wrong(today(right, PktForwarded)));
            ensure!(said.is_some_and(|said| said.contains("packet 1, time 1")));

            let marked =
                |row: Row| row.known_wrong("none", "it is sent on", today(right, PktForwarded));
            let holds = marked(row("a SYN goes").given(syn()).then(to(FAR), PktForwarded));
            ensure!(of(holds).is_some_and(|said| said.contains("no longer needed")));
            // No packet came before, no packet can be made, the maps cannot be changed.
            for unable in [
                row("a").given(udp().again()).then(PASSED, NOTHING),
                row("b").given(udp().options(41)).then(PASSED, NOTHING),
                row("c")
                    .meanwhile(|_, _| anyhow::bail!("planted"))
                    .given(udp())
                    .then(PASSED, NOTHING),
            ] {
                let said = of(marked(unable)).unwrap_or_default();
                ensure!(said.contains("the table could not run it"), "{said}");
            }
            Ok(())
        })
    }
}

//! New endpoints of a Service with slow start have a part of their weight only.

use lb_common::{Addr, scheduler::Scheduler};

use super::desired::{MemberFlags, Pool};

/// Gives the pool's new members their part of the share. `parts` knows who is new, by address and
/// port.
pub fn apply(pool: &mut Pool, parts: impl Fn(Addr, u16) -> Option<u8>) {
    let mut any = false;
    for member in &mut pool.members {
        if member.flags.has(MemberFlags::ELIGIBLE)
            && let Some(parts) = parts(member.addr, member.port)
        {
            member.flags = member.flags.starting(parts);
            any = true;
        }
    }
    if any {
        pool.set_slots();
    }
}

/// What to say where the scheduler knows no weights, and so no parts of them.
#[must_use]
pub fn problem(scheduler: Scheduler) -> Option<String> {
    (!scheduler.weighs()).then(|| {
        format!(
            "slow-start: scheduler {} goes by no weights, so a new endpoint has its whole share at once (use random, wrr, wlc, p2c or maglev)",
            scheduler.name()
        )
    })
}

#[cfg(test)]
mod tests;

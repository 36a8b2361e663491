//! The names of everything that a test makes on the machine: `lbt-<pid>-<n>-<role>`.

use std::sync::atomic::{AtomicU32, Ordering};

/// What every name begins with: leftovers of a killed run are found by it.
pub const PREFIX: &str = "lbt-";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that is unique on this machine.
#[must_use]
pub fn unique(role: &str) -> String {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{n}-{role}", std::process::id())
}

/// The process that made the thing of this name; `None` for a name that is not ours.
#[must_use]
pub fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_maker_and_is_never_given_twice() {
        let (a, b) = (unique("node"), unique("node"));
        assert_ne!(a, b);
        assert_eq!(maker(&a), Some(std::process::id()));
        assert_eq!(maker("lbt-x-1-node"), None);
        assert_eq!(maker("eth0"), None);
    }
}

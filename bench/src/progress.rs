//! What a run says of itself while it lasts: each line begins with the time since it began.

use std::{
    fmt::{Arguments, Display},
    sync::LazyLock,
    time::{Duration, Instant},
};

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// From here on it counts.
pub(crate) fn begin() -> Instant {
    *BEGUN
}

/// A line on standard error.
pub(crate) fn say(words: Arguments<'_>) {
    eprintln!("[{:>4} s] {words}", BEGUN.elapsed().as_secs());
}

/// Minutes and seconds.
pub(crate) fn minutes(time: Duration) -> impl Display {
    let seconds = time.as_secs();
    let (minutes, rest) = (seconds / 60, seconds % 60);
    if minutes == 0 {
        format!("{rest} s")
    } else {
        format!("{minutes} min {rest} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_minutes() {
        let says = |seconds| minutes(Duration::from_secs(seconds)).to_string();
        assert_eq!(
            (says(59).as_str(), says(221).as_str()),
            ("59 s", "3 min 41 s")
        );
    }
}

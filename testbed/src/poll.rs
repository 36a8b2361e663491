//! Waiting: a condition is asked again and again until it holds or the deadline has passed.

use std::{
    env, io,
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks: short against everything that is waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// How many times as slow as a real one this machine is: said for emulated ones.
static SLOWNESS: LazyLock<u32> = LazyLock::new(|| {
    let said = env::var("LB_TEST_PATIENCE").ok();
    said.and_then(|number| number.parse().ok()).unwrap_or(1)
});

/// As long as this would be on a real machine; for what must happen in time, not for what must not
/// happen.
#[must_use]
pub fn patient(deadline: Duration) -> Duration {
    deadline * *SLOWNESS
}

/// Asks until the answer is `Ok(Some(_))`; past `deadline` the last error, or `what`, is the
/// failure.
pub fn until<T>(
    deadline: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = patient(deadline);
    let start = Instant::now();
    loop {
        let last = match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if start.elapsed() >= deadline {
            bail!("{what}: not within {deadline:?}{last}");
        }
        thread::sleep(PAUSE);
    }
}

/// Makes a call again that was interrupted. One with a time limit is, when its process was stopped
/// and goes on (signal(7)); its limit counts from then on.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// [`until`] for a condition that is true or false.
pub fn until_true(
    deadline: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(deadline, what, || Ok(ask()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_again_only_if_it_was_interrupted() {
        let interrupted = || Err(io::ErrorKind::Interrupted.into());
        let mut answers = vec![Ok(7), interrupted(), interrupted()];
        let answer = uninterrupted(|| answers.pop().unwrap());
        assert_eq!((answer.unwrap(), answers.len()), (7, 0));
        let mut answers = vec![Ok(7), Err(io::ErrorKind::WouldBlock.into())];
        let answer = uninterrupted(|| answers.pop().unwrap());
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

//! A loop that opens connections as fast as it can and keeps a tally.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::SockAddr;

use super::{Family, HammerPlan, Kind, Tally, socket};
use crate::poll::patient;

/// An answer that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running loop; it ends with this value.
pub(super) struct Hammering {
    end: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Hammering {
    pub(super) fn start(plan: HammerPlan) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (seen, sum) = (Arc::clone(&end), Arc::clone(&tally));
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let outcome = attempt(&plan);
                let mut tally = sum.lock().unwrap_or_else(PoisonError::into_inner);
                tally.attempts += 1;
                match outcome {
                    Ok(name) if plan.allowed.is_empty() || plan.allowed.contains(&name) => {
                        *tally.answers.entry(name).or_default() += 1;
                    }
                    Ok(name) => {
                        *tally
                            .failures
                            .entry(format!("answered by {name}"))
                            .or_default() += 1;
                    }
                    Err(error) => *tally.failures.entry(error.to_string()).or_default() += 1,
                }
            }
        });
        Self {
            end,
            tally,
            thread: Some(thread),
        }
    }

    pub(super) fn so_far(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn stop(mut self) -> Tally {
        self.finish();
        self.so_far()
    }

    fn finish(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

impl Drop for Hammering {
    fn drop(&mut self) {
        self.finish();
    }
}

/// One connection; the name of the server that answered.
fn attempt(plan: &HammerPlan) -> io::Result<String> {
    let HammerPlan {
        kind,
        connected,
        to,
        allowed: _,
    } = plan;
    let sock = socket::open(*kind, Family::of(to)).map_err(at("socket"))?;
    if *kind == Kind::Udp && !connected {
        socket::send_to(&sock, *to, "hit\n").map_err(at("sendto"))?;
    } else {
        sock.connect(&SockAddr::from(*to)).map_err(at("connect"))?;
        socket::send(&sock, "hit\n").map_err(at("send"))?;
    }
    let text = socket::receive(&sock, patient(PATIENCE))
        .map_err(at("recv"))?
        .text;
    let name = text
        .split_whitespace()
        .next()
        .ok_or_else(|| io::Error::other("closed without an answer"))?;
    Ok(name.to_owned())
}

fn at(call: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("{call}: {error}"))
}

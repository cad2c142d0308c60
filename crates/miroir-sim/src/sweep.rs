//! Many seeds on all processors. A panic anywhere in a seed, also in a task of the engine that nobody
//! waits for, is a finding of that seed.

use crate::run::{Options, Outcome, play};
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A seed in which something is wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub wrong: Vec<String>,
}

/// What many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// By seed.
    pub findings: Vec<Finding>,
    /// Summed over all; `wrong` and `trace` are empty.
    pub total: Outcome,
}

/// Plays one seed and takes in its panics.
#[must_use]
pub fn play_safely(seed: u64, options: Options) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            let is_simulated = std::thread::current().name() == Some(THREAD);
            if !is_simulated {
                before(info);
            }
        }));
    });
    PANICS.with_borrow_mut(Vec::clear);
    let result = catch_unwind(AssertUnwindSafe(|| play(seed, options)));
    let mut outcome = result.unwrap_or_default();
    outcome.wrong.extend(PANICS.with_borrow_mut(std::mem::take));
    outcome
}

const THREAD: &str = "seeds";

/// Plays these seeds.
///
/// # Panics
/// When a thread cannot be started.
#[must_use]
pub fn sweep(seeds: Range<u64>, options: Options) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            let outcome = play_safely(seed, options);
            sum.add(seed, outcome);
        }
    };
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let start = |_| {
            let builder = std::thread::Builder::new().name(THREAD.into());
            builder.spawn_scoped(scope, work).expect("a thread")
        };
        let threads: Vec<_> = (0..thread_count).map(start).collect();
        for thread in threads {
            sum.join(thread.join().expect("panics are caught within"));
        }
    });
    sum.findings.sort_by_key(|finding| finding.seed);
    sum
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.total.writes += outcome.writes;
        self.total.reads += outcome.reads;
        self.total.errors += outcome.errors;
        self.total.looks += outcome.looks;
        self.total.crashes += outcome.crashes;
        self.total.epochs += outcome.epochs;
        self.total.took += outcome.took;
        if !outcome.wrong.is_empty() {
            let wrong = outcome.wrong;
            self.findings.push(Finding { seed, wrong });
        }
    }

    fn join(&mut self, other: Self) {
        self.add(0, other.total);
        self.findings.extend(other.findings);
    }
}

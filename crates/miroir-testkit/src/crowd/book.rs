//! What the threads of a run share: the ledgers, when what was broken, and what went wrong.

use super::ledger::Ledger;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A run that has gone wrong so often is stopped.
const VIOLATIONS_MAX: usize = 20;
/// Past the deadline of a search: a busy machine, and the way to the client and back.
const SLACK: Duration = Duration::from_secs(30);

/// A lock that does not mind a panic elsewhere: the run fails anyway.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    /// What it guards.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The proxy.
    Proxy,
    /// The node of that name.
    Node(String),
}

/// When a part was not well: from a fault on it (or from the moment it showed itself unwell) until it
/// was seen well again.
#[derive(Debug, Default)]
struct Illness {
    /// Faults on it at present.
    faults: usize,
    /// The last fault ended then.
    healed: Option<Instant>,
    spells: Vec<(Instant, Option<Instant>)>,
}

/// A read that was refused, failed, or took long.
#[derive(Debug)]
struct Doubt {
    began: Instant,
    ended: Instant,
    text: String,
}

/// What is known of a run.
#[derive(Debug)]
pub struct Book {
    options: BookOptions,
    /// What is known of each index.
    pub ledgers: Vec<Shared<Ledger>>,
    /// The nemesis has ended: writers and readers end too.
    pub has_ended: AtomicBool,
    /// The nemesis waits: writers come less often.
    pub is_calm: AtomicBool,
    /// It has waited for long: writers do not come at all.
    pub is_still: AtomicBool,
    pub(crate) reads: AtomicU64,
    began: Instant,
    illness: Shared<BTreeMap<Part, Illness>>,
    doubts: Shared<Vec<Doubt>>,
    slowest: Shared<Duration>,
    counts: Shared<BTreeMap<String, u64>>,
    violations: Shared<Vec<String>>,
}

/// The shape of a run.
#[derive(Debug, Clone)]
pub struct BookOptions {
    /// Copies of each shard: a read may be refused only while so many parts are ill.
    pub replication_factor: u32,
    /// The indexes.
    pub indexes: Vec<String>,
    /// Whether the nodes are real Meilisearch servers.
    pub has_real_nodes: bool,
    /// Whether a node that shows itself unwell, though nothing was done to it, counts as ill. If not,
    /// only what was broken on purpose excuses anything.
    pub suspects_all: bool,
    /// Between two writes of a writer, at most.
    pub write_pause: Duration,
}

impl Book {
    /// A run in which nothing has happened yet.
    #[must_use]
    pub fn new(options: BookOptions) -> Self {
        let setting = setting(options.has_real_nodes);
        let names = options.indexes.iter().cloned();
        let ledgers = names.map(|name| Ledger::new(name, setting.clone()));
        Self {
            ledgers: ledgers.map(|ledger| Shared(Mutex::new(ledger))).collect(),
            options,
            has_ended: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            is_still: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            began: Instant::now(),
            illness: Shared::default(),
            doubts: Shared::default(),
            slowest: Shared::default(),
            counts: Shared::default(),
            violations: Shared::default(),
        }
    }

    pub(crate) fn options(&self) -> &BookOptions {
        &self.options
    }

    pub(crate) fn is_over(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Something is wrong. Whoever sees it goes on: what follows may tell more.
    pub fn violate(&self, text: String) {
        let text = format!("at {:.2} s: {text}", self.began.elapsed().as_secs_f64());
        println!("VIOLATION {text}");
        self.violations.lock().push(text);
    }

    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.violations.lock().len() >= VIOLATIONS_MAX
    }

    /// Something that may happen, for the summary.
    pub fn count(&self, what: &str) {
        *self.counts.lock().entry(what.to_owned()).or_default() += 1;
    }

    pub fn say(&self, text: &str) {
        println!("{:8.2} {text}", self.began.elapsed().as_secs_f64());
    }

    /// A fault on a part begins.
    pub fn break_part(&self, part: Part) {
        let mut illness = self.illness.lock();
        let illness = illness.entry(part).or_default();
        illness.faults += 1;
        illness.open(Instant::now());
    }

    /// A fault on a part has ended; it is ill until it shows itself well.
    pub fn heal_part(&self, part: Part) {
        let mut illness = self.illness.lock();
        let illness = illness.entry(part).or_default();
        illness.faults = illness.faults.saturating_sub(1);
        illness.healed = Some(Instant::now());
    }

    /// A part was looked at.
    pub(crate) fn note_seen(&self, part: Part, is_well: bool, looked: Instant, before: Instant) {
        let mut illness = self.illness.lock();
        let illness = illness.entry(part).or_default();
        if !is_well {
            if self.options.suspects_all {
                illness.open(before);
            }
        } else if illness.faults == 0 && illness.healed.is_none_or(|healed| healed < looked) {
            illness.close();
        }
    }

    /// Whether nothing is broken and everything has shown itself well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let illness = self.illness.lock();
        illness.values().all(|illness| !illness.is_open())
    }

    /// Whether the proxy was disturbed at any time between the two.
    pub(crate) fn is_proxy_disturbed(&self, began: Instant, ended: Instant) -> bool {
        let illness = self.illness.lock();
        illness
            .get(&Part::Proxy)
            .is_some_and(|illness| illness.overlaps(began, ended))
    }

    /// A read was answered with something other than what was asked for.
    pub(crate) fn doubt(&self, began: Instant, text: String) {
        self.doubts.lock().push(Doubt {
            began,
            ended: Instant::now(),
            text,
        });
    }

    pub(crate) fn note_time(&self, began: Instant, what: &str) {
        let elapsed = began.elapsed();
        if !self.is_proxy_disturbed(began, Instant::now()) {
            let mut slowest = self.slowest.lock();
            *slowest = elapsed.max(*slowest);
            if elapsed > SLACK {
                self.say(&format!("{what} took {:.2} s", elapsed.as_secs_f64()));
            }
        }
    }

    /// All that went wrong, now that it is known when which node was ill: a read may be refused only
    /// while some shard may have had no well replica.
    #[must_use]
    pub fn judge_errors(&self, deadline: Duration) -> Vec<String> {
        let mut violations = std::mem::take(&mut *self.violations.lock());
        let illness = self.illness.lock();
        for doubt in self.doubts.lock().iter() {
            let is_ill =
                |(_, illness): &(&Part, &Illness)| illness.overlaps(doubt.began, doubt.ended);
            let ill: Vec<_> = illness
                .iter()
                .filter(is_ill)
                .map(|(part, _)| part)
                .collect();
            let is_excused = ill.contains(&&Part::Proxy)
                || ill.len() >= self.options.replication_factor as usize;
            if !is_excused {
                let at = doubt.ended.duration_since(self.began).as_secs_f64();
                let text = &doubt.text;
                violations.push(format!("at {at:.2} s, with {ill:?} ill: {text}"));
            }
        }
        let slowest = *self.slowest.lock();
        if slowest > deadline + SLACK {
            violations.push(format!("a read took {slowest:?}"));
        }
        violations
    }

    /// The summary.
    pub fn print(&self) {
        for ledger in &self.ledgers {
            println!("{}", ledger.lock().summary());
        }
        println!(
            "{} reads, {} of them answered with errors, the slowest took {:?}",
            self.reads.load(Ordering::Relaxed),
            self.doubts.lock().len(),
            *self.slowest.lock()
        );
        for (what, count) in self.counts.lock().iter() {
            println!("{count:6} {what}");
        }
    }
}

/// The setting that writers change, and its default. The bundled engine cannot take other stop words
/// when documents are written after them: it stumbles over what it has indexed under the former ones.
fn setting(has_real_nodes: bool) -> (&'static str, Value) {
    match has_real_nodes {
        true => ("stopWords", json!([])),
        false => ("synonyms", json!({})),
    }
}

impl Illness {
    fn is_open(&self) -> bool {
        self.faults > 0 || self.spells.last().is_some_and(|(_, until)| until.is_none())
    }

    fn open(&mut self, from: Instant) {
        match self.spells.last_mut() {
            Some((_, until)) if until.is_none() => {}
            // What shows itself ill so soon again has not been well.
            Some((_, until)) if until.is_some_and(|until| until >= from) => *until = None,
            _ => self.spells.push((from, None)),
        }
    }

    fn close(&mut self) {
        if let Some((_, until @ None)) = self.spells.last_mut() {
            *until = Some(Instant::now());
        }
    }

    fn overlaps(&self, began: Instant, ended: Instant) -> bool {
        self.spells
            .iter()
            .any(|(from, until)| *from <= ended && until.is_none_or(|until| until >= began))
    }
}

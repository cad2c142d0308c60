//! Breaks and heals: what, when and for how long, the seed says.
//!
//! Law: what can lose data for good (a wiped disk, an old copy) comes only when every node is in sync
//! and nothing else is broken. Everything else may come together.

use anyhow::{Context, Result};
use miroir_testkit::crowd::{Book, Part};
use miroir_testkit::{Cluster, Condition, PATIENCE, Rng, poll};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// By which everything must be in sync again after a fault: a node copied anew on a busy machine.
const RETURN_LIMIT: Duration = Duration::from_secs(300);
/// A node that was away is not helped by the others: where all are at their limit it catches up only
/// when writers leave it room.
const CALM_LIMIT: Duration = Duration::from_secs(40);
/// Replacing a data folder takes so long, and longer than it takes the proxy to see that the node is
/// down.
const ABSENCE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Suspend,
    Link(Condition),
    FillDisk,
    Wipe,
    OldCopy,
    KillProxy,
    SuspendProxy,
}

impl Fault {
    fn roll(rng: &mut Rng) -> Self {
        let delay = Duration::from_millis(rng.between(20, 400) as u64);
        match rng.below(24) {
            0..4 => Self::Kill,
            4 | 5 => Self::Suspend,
            6 => Self::Link(Condition::Cut),
            7 | 8 => Self::Link(Condition::Silent),
            9 | 10 => Self::Link(Condition::HalfOpen),
            11 | 12 => Self::Link(Condition::Resetting),
            13 => Self::Link(Condition::Delayed(delay)),
            14 | 15 => Self::FillDisk,
            16 | 17 => Self::Wipe,
            18..21 => Self::OldCopy,
            21 | 22 => Self::KillProxy,
            _ => Self::SuspendProxy,
        }
    }

    fn loses_data(self) -> bool {
        matches!(self, Self::Wipe | Self::OldCopy)
    }

    fn concerns_proxy(self) -> bool {
        matches!(self, Self::KillProxy | Self::SuspendProxy)
    }
}

struct Nemesis<'a> {
    book: &'a Book,
    cluster: &'a mut Cluster,
    rng: Rng,
}

/// Acts until the time has come; then nothing is broken any more.
///
/// # Errors
/// Something cannot be broken, or does not become well in time.
pub(crate) fn run(book: &Book, cluster: &mut Cluster, seed: u64, until: Instant) -> Result<()> {
    let rng = Rng::of(&[seed, 3]);
    let mut nemesis = Nemesis { book, cluster, rng };
    while Instant::now() < until && !book.is_hopeless() {
        nemesis.act()?;
    }
    nemesis.wait_well()
}

impl Nemesis<'_> {
    fn act(&mut self) -> Result<()> {
        let mut fault = Fault::roll(&mut self.rng);
        if fault == Fault::FillDisk && !self.cluster.nodes[0].has_small_disk() {
            fault = Fault::Kill;
        }
        if fault.loses_data() {
            self.wait_well()?;
        }
        let first = self.rng.below(self.cluster.nodes.len());
        // Two at once, now and then; never where a disk is lost.
        let mut faults = vec![(fault, first)];
        if !fault.loses_data() && self.rng.chance(25) {
            let mut second = Fault::roll(&mut self.rng);
            if second.loses_data() || second == Fault::FillDisk {
                second = Fault::KillProxy;
            }
            let other = (first + 1 + self.rng.below(2)) % self.cluster.nodes.len();
            if second.concerns_proxy() != fault.concerns_proxy() || !second.concerns_proxy() {
                faults.push((second, other));
            }
        }
        for (fault, node_idx) in &faults {
            self.begin(*fault, *node_idx)
                .with_context(|| format!("{fault:?} of node {}", node_idx + 1))?;
            self.pause(0, 800);
        }
        match fault {
            // So long that writes come to it and fail.
            Fault::FillDisk => self.pause(2_000, 16_000),
            _ => self.pause(200, 5_000),
        }
        while !faults.is_empty() {
            let (fault, node_idx) = faults.remove(self.rng.below(faults.len()));
            self.end(fault, node_idx)
                .with_context(|| format!("the end of {fault:?} of node {}", node_idx + 1))?;
            self.pause(0, 800);
        }
        if self.rng.chance(65) {
            self.wait_well()?;
        }
        self.pause(0, 1_500);
        Ok(())
    }

    fn pause(&mut self, least_ms: usize, most_ms: usize) {
        let milliseconds = self.rng.between(least_ms, most_ms);
        thread::sleep(Duration::from_millis(milliseconds as u64));
    }

    fn begin(&mut self, fault: Fault, node_idx: usize) -> Result<()> {
        self.book
            .say(&format!("{fault:?} of node {}", node_idx + 1));
        self.book.count(&format!("faults: {}", name_of(fault)));
        let part = match fault.concerns_proxy() {
            true => Part::Proxy,
            false => part_of(node_idx),
        };
        self.book.break_part(part);
        let node = &mut self.cluster.nodes[node_idx];
        match fault {
            Fault::Kill => node.kill(),
            Fault::Suspend => node.suspend()?,
            Fault::Link(condition) => self.cluster.links[node_idx].set(condition),
            Fault::FillDisk => node.fill_disk()?,
            Fault::Wipe => {
                node.kill_and_wipe()?;
                self.be_missed(node_idx)?;
            }
            Fault::OldCopy if node.has_backup() => {
                node.kill_and_restore()?;
                self.be_missed(node_idx)?;
            }
            // The copy is not old yet; another time it will be.
            Fault::OldCopy => node.kill_and_back_up()?,
            Fault::KillProxy => self.cluster.proxy.kill(),
            Fault::SuspendProxy => self.cluster.proxy.set_suspended(true)?,
        }
        Ok(())
    }

    /// Waits until a node that is away has been missed. The proxy is well: nothing else is broken where
    /// data is lost.
    fn be_missed(&self, node_idx: usize) -> Result<()> {
        thread::sleep(ABSENCE);
        poll("the proxy's seeing a node away", PATIENCE, || {
            let state = self.cluster.node_state(node_idx)?;
            Ok((state["state"] != "up").then_some(()))
        })
    }

    fn end(&mut self, fault: Fault, node_idx: usize) -> Result<()> {
        let node = &mut self.cluster.nodes[node_idx];
        let part = match fault {
            Fault::Kill | Fault::Wipe | Fault::OldCopy => {
                node.restart()?;
                part_of(node_idx)
            }
            Fault::Suspend => {
                node.resume()?;
                part_of(node_idx)
            }
            Fault::Link(_) => {
                self.cluster.links[node_idx].set(Condition::Passing);
                part_of(node_idx)
            }
            Fault::FillDisk => {
                node.free_disk()?;
                part_of(node_idx)
            }
            Fault::KillProxy => {
                self.cluster.proxy.restart(&[])?;
                Part::Proxy
            }
            Fault::SuspendProxy => {
                self.cluster.proxy.set_suspended(false)?;
                Part::Proxy
            }
        };
        self.book.heal_part(part);
        self.book
            .say(&format!("end of {fault:?} of node {}", node_idx + 1));
        Ok(())
    }

    /// Waits until every node is in sync and the proxy is ready.
    fn wait_well(&mut self) -> Result<()> {
        let began = Instant::now();
        self.book.is_calm.store(true, Ordering::Relaxed);
        poll("the recovery of the cluster", RETURN_LIMIT, || {
            let is_still = began.elapsed() > CALM_LIMIT;
            self.book.is_still.store(is_still, Ordering::Relaxed);
            Ok((self.book.is_well() || self.book.is_hopeless()).then_some(()))
        })
        .with_context(|| {
            let topology = self.cluster.client().get("/_miroir/topology");
            let state = topology.map_or_else(|error| error.to_string(), |t| t.body.to_string());
            format!("last seen: {state}")
        })?;
        self.book.is_calm.store(false, Ordering::Relaxed);
        self.book.is_still.store(false, Ordering::Relaxed);
        let seconds = began.elapsed().as_secs_f64();
        self.book.say(&format!("all is well after {seconds:.2} s"));
        Ok(())
    }
}

fn name_of_node(node_idx: usize) -> String {
    format!("node-{}", node_idx + 1)
}

fn part_of(node_idx: usize) -> Part {
    Part::Node(name_of_node(node_idx))
}

fn name_of(fault: Fault) -> String {
    match fault {
        Fault::Link(Condition::Delayed(_)) => "Link(Delayed)".to_owned(),
        other => format!("{other:?}"),
    }
}

//! Nodes that answer and are not well, and a disk of the proxy without room: what an operator would
//! call an illness, at random.
//!
//! Nothing here makes a node fail what a client wrote as if the client were at fault: where such a node
//! is the only replica left, nobody could tell.

use crate::dice::Dice;
use crate::node::{Faults, ReadFault};
use crate::run::Sim;

/// What can be wrong.
#[derive(Debug, Clone, Copy)]
enum Ill {
    /// Its task queue, or its disk, has no room: it refuses writes.
    Full,
    /// It takes writes and fails them, since its disk is full.
    DiskFull,
    /// Somebody cancels its tasks behind our back.
    Canceled,
    /// It does not know the key.
    Denying,
    /// It answers probes and writes, and no reads.
    Mute,
    /// It breaks off its answers.
    Reset,
    /// It has too much to do for reads.
    Busy,
    /// It fails inside.
    Failing,
    /// Its answers are cut off.
    Truncating,
    /// The disk of the proxy is full.
    ProxyFull,
    /// The node is well again.
    Well,
}

const ILLS: [Ill; 15] = [
    Ill::Full,
    Ill::DiskFull,
    Ill::Canceled,
    Ill::Canceled,
    Ill::Denying,
    Ill::Mute,
    Ill::Reset,
    Ill::Busy,
    Ill::Failing,
    Ill::Truncating,
    Ill::ProxyFull,
    Ill::Well,
    Ill::Well,
    Ill::Well,
    Ill::Well,
];

/// Makes nodes ill and well now and then, until it is dropped.
pub(crate) async fn run(sim: &Sim, mut dice: Dice) {
    loop {
        tokio::time::sleep(dice.millis(20, 700)).await;
        let node = dice.pick(&sim.world.fleet.names());
        let ill = dice.pick(&ILLS);
        sim.history
            .note(sim.time.now(), || format!("illness: {ill:?} {node}"));
        if let Ill::DiskFull | Ill::Canceled = ill {
            let mut events = sim.history.events.lock();
            let now = sim.time.now();
            events.illness_since.get_or_insert(now);
        }
        let reads = |fault: ReadFault| sim.world.fleet.set(&node, |faults| faults.reads = fault);
        match ill {
            Ill::Full => sim.world.fleet.set(&node, |faults| faults.is_full = true),
            Ill::DiskFull => sim
                .world
                .fleet
                .set(&node, |faults| faults.is_disk_full = true),
            Ill::Canceled => {
                let now = sim.time.now();
                sim.world.fleet.on(&node, |node| {
                    node.work_until(now);
                    node.cancel_open_tasks();
                });
            }
            Ill::Denying => sim
                .world
                .fleet
                .set(&node, |faults| faults.is_denying = true),
            Ill::Mute => reads(ReadFault::Silence),
            Ill::Reset => reads(ReadFault::Reset),
            Ill::Busy => reads(ReadFault::Busy),
            Ill::Failing => reads(ReadFault::Failure),
            Ill::Truncating => reads(ReadFault::Truncation),
            Ill::ProxyFull => sim.disk.fill(dice.millis(50, 2_000)),
            Ill::Well => cure(sim, &node),
        }
    }
}

fn cure(sim: &Sim, node: &str) {
    sim.world.fleet.set(node, |faults| {
        faults.is_full = false;
        faults.is_disk_full = false;
        faults.is_denying = false;
        faults.reads = ReadFault::None;
    });
}

/// Everybody is well, for good.
pub(crate) fn cure_all(sim: &Sim) {
    for node in sim.world.fleet.names() {
        cure(sim, &node);
    }
}

/// Nothing of that kind is wrong with the node.
pub(crate) fn is_well(faults: &Faults) -> bool {
    !faults.is_full && !faults.is_disk_full && !faults.is_denying && faults.reads == ReadFault::None
}

//! Breaks and heals: which, when and for how long, the dice say.

use crate::dice::Dice;
use crate::ills;
use crate::node::{Backup, Node};
use crate::run::Sim;
use miroir_core::id::NodeId;
use std::time::Duration;

/// What can be broken.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Deaf,
    Mute,
    Loss,
    Twice,
    Slow,
    Late,
    Busy,
    Stuck,
    Crash,
    StoreStall,
    StoreErrors,
    ClockJump,
    DiskLoss,
    OldBackup,
    Heal,
}

const FAULTS: [Fault; 20] = [
    Fault::Cut,
    Fault::Deaf,
    Fault::Mute,
    Fault::Loss,
    Fault::Twice,
    Fault::Slow,
    Fault::Late,
    Fault::Busy,
    Fault::Stuck,
    Fault::Crash,
    Fault::Crash,
    Fault::StoreStall,
    Fault::StoreErrors,
    Fault::ClockJump,
    Fault::DiskLoss,
    Fault::OldBackup,
    Fault::Heal,
    Fault::Heal,
    Fault::Heal,
    Fault::Heal,
];

/// Replacing a data folder takes longer than it takes the proxy to see that the node is down: a node
/// that is emptied between two probes answers with what it has until it is asked what it lacks.
const ABSENCE: Duration = Duration::from_secs(5);

/// Breaks something now and then, until it is dropped.
pub(crate) async fn run(sim: &Sim, mut dice: Dice) {
    loop {
        tokio::time::sleep(dice.millis(20, 900)).await;
        stir(sim, &mut dice);
    }
}

fn stir(sim: &Sim, dice: &mut Dice) {
    let names = sim.world.fleet.names();
    let node = dice.pick(&names);
    let fault = match dice.pick(&FAULTS) {
        Fault::DiskLoss | Fault::OldBackup if !sim.options.has_disk_loss => Fault::Heal,
        Fault::Late if !sim.options.has_late_requests => Fault::Slow,
        fault => fault,
    };
    sim.history
        .note(sim.time.now(), || format!("nemesis: {fault:?} {node}"));
    let network = &sim.network;
    match fault {
        Fault::Cut => network.set(&node, |way| way.is_cut = true),
        Fault::Deaf => network.set(&node, |way| way.is_deaf = true),
        Fault::Mute => network.set(&node, |way| way.is_mute = true),
        Fault::Loss => network.set(&node, |way| way.loss = 25),
        Fault::Twice => network.set(&node, |way| way.twice = 40),
        Fault::Slow => network.set(&node, |way| way.slow_ms = 150),
        Fault::Late => network.set(&node, |way| way.slow_ms = 4_500),
        Fault::Busy => network.set(&node, |way| way.busy = 60),
        Fault::Stuck => sim
            .world
            .fleet
            .set(&node, |faults| faults.is_holding = true),
        Fault::Crash => crash(sim, &node, dice),
        Fault::StoreStall => sim.disk.stall(dice.millis(10, 3_000)),
        Fault::StoreErrors => {
            let percent = 10 + dice.below(80);
            sim.disk.fail(dice.millis(50, 2_000), percent);
        }
        Fault::ClockJump => sim.world.fleet.on(&node, |node| node.skew = dice.below(9)),
        Fault::DiskLoss => lose_disk(sim, &node, None),
        Fault::OldBackup => back_up_or_restore(sim, &node),
        Fault::Heal => heal(sim, &node),
    }
}

/// The process of a node is killed; it comes back when it is healed.
fn crash(sim: &Sim, node: &str, dice: &mut Dice) {
    let now = sim.time.now();
    sim.world.fleet.on(node, |node| {
        node.work_until(now);
        let open = node.open_count();
        let kept = if dice.chance(50) {
            open
        } else {
            dice.position(open + 1)
        };
        node.crash(kept, false);
    });
    sim.network.set(node, |way| way.is_dead = true);
}

/// The first time a node's data folder is kept, the second time it is what the node comes back with.
fn back_up_or_restore(sim: &Sim, node: &str) {
    let kept = sim.backups.lock().remove(node);
    match kept {
        Some(backup) => lose_disk(sim, node, Some(backup)),
        None => {
            let backup = sim.world.fleet.on(node, |node| node.back_up());
            sim.backups.lock().insert(node.to_owned(), backup);
        }
    }
}

/// A node is down for some time and comes back with another data folder. One at a time, and only
/// where another copy of everything is in sync: what has no other copy is lost for good.
fn lose_disk(sim: &Sim, node: &str, backup: Option<Backup>) {
    let is_safe = {
        let events = sim.history.events.lock();
        sim.replication_factor > 1
            && events.in_sync.values().all(|is_in_sync| *is_in_sync)
            && events.damaged.is_empty()
    };
    if !is_safe {
        return;
    }
    sim.history.events.lock().damaged.insert(NodeId::new(node));
    sim.network.set(node, |way| way.is_dead = true);
    sim.world.fleet.on(node, |node| match backup {
        Some(backup) => node.restore(backup),
        None => node.wipe(),
    });
    sim.absent
        .lock()
        .insert(node.to_owned(), sim.time.now() + ABSENCE);
}

fn heal(sim: &Sim, node: &str) {
    if sim
        .absent
        .lock()
        .get(node)
        .is_some_and(|until| *until > sim.time.now())
    {
        return;
    }
    sim.network
        .set(node, |way| *way = crate::network::Condition::default());
    sim.world
        .fleet
        .set(node, |faults| faults.is_holding = false);
}

/// Heals everything for good.
pub(crate) fn heal_all(sim: &Sim) {
    sim.absent.lock().clear();
    for node in sim.world.fleet.names() {
        heal(sim, &node);
        sim.world
            .fleet
            .on(&node, |node| node.pace = Some(Duration::from_millis(2)));
    }
    ills::cure_all(sim);
    sim.network.heal();
    sim.disk.heal();
}

/// Nothing is broken.
pub(crate) fn is_calm(sim: &Sim) -> bool {
    let names = sim.world.fleet.names();
    let is_well = |name: &String| {
        let is_well = |node: &mut Node| !node.faults.is_holding && ills::is_well(&node.faults);
        sim.world.fleet.on(name, is_well)
            && sim.network.condition(&NodeId::new(name.as_str())) == Default::default()
    };
    sim.disk.is_calm() && names.iter().all(is_well)
}

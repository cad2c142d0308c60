//! Changes while processes die: a correct cluster in the end, and nothing left where it should not be.

use crate::operator::Moving;
use crate::stage::{Shape, Stage, perform};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::thread;
use std::time::Duration;

/// Copies so slow that there is time to disturb them.
const DOCUMENTS_PER_SECOND: u32 = 40;
/// How long a movement that stands still is looked at.
const STILL: Duration = Duration::from_secs(2);

fn shape(nodes: u32) -> Shape {
    Shape {
        nodes,
        replication_factor: 2,
        documents_per_second: Some(DOCUMENTS_PER_SECOND),
    }
}

/// Waits until a shard is being copied to a node.
fn copying_to(stage: &Stage<'_>, target: &str) -> Result<Moving> {
    let is_chosen = |moving: &Moving| moving.targets.iter().any(|node| node == target);
    let moving = stage.operator.wait_copying(is_chosen)?;
    moving.with_context(|| format!("nothing was seen being copied to {target}"))
}

#[test]
fn a_proxy_killed_again_and_again_carries_out_what_was_applied() {
    perform(&shape(3), 2, |stage| {
        let epoch = stage.begin_to_add("node-4")?;
        for _ in 0..4 {
            stage.pause(200, 2_500);
            stage.kill_and_restart_proxy()?;
        }
        stage.operator.wait(&epoch)?;
        let epoch = stage.operator.apply(&[&["node", "remove", "node-1"]])?;
        for _ in 0..2 {
            stage.pause(200, 4_000);
            stage.kill_and_restart_proxy()?;
        }
        stage.operator.wait(&epoch)?;
        stage.operator.check_shards("node-1", None)
    });
}

#[test]
fn sources_and_targets_die_return_and_lose_their_data_while_shards_are_copied() {
    perform(&shape(3), 2, |stage| {
        let epoch = stage.begin_to_add("node-4")?;
        let moving = copying_to(stage, "node-4")?;
        let source = moving.sources.first().context("no source")?;
        stage.kill_and_restart_node(source)?;
        stage.operator.wait(&epoch)?;

        let epoch = stage.operator.apply(&[&["node", "drain", "node-1"]])?;
        let moving = stage.operator.wait_copying(|_| true)?;
        let moving = moving.context("nothing was seen being copied")?;
        let target = moving.targets.first().context("no target")?;
        stage.kill_and_restart_node(target)?;
        stage.operator.wait(&epoch)?;
        stage.operator.check_shards("node-1", Some(0))?;

        let epoch = stage.operator.apply(&[&["node", "activate", "node-1"]])?;
        copying_to(stage, "node-1")?;
        stage.wipe_node("node-1")?;
        stage.operator.wait(&epoch)?;
        let shards = stage.operator.shards_of("node-1")?;
        ensure!(shards > Some(0), "node-1 has {shards:?} shards");
        Ok(())
    });
}

#[test]
fn what_is_paused_stands_still_and_what_is_cancelled_leaves_nothing_behind() {
    perform(&shape(3), 2, |stage| {
        let epoch = stage.begin_to_add("node-4")?;
        let operator = stage.operator.clone();
        copying_to(stage, "node-4")?;
        let paused = operator.json(&["topology", "pause"])?;
        ensure!(paused["state"] == "paused", "{paused}");
        // What was on its way arrives.
        thread::sleep(STILL);
        let before = operator.json(&["topology", "status"])?;
        thread::sleep(STILL);
        let after = operator.json(&["topology", "status"])?;
        let progress = |status: &Value| (status["documents"].clone(), status["movesDone"].clone());
        ensure!(progress(&before) == progress(&after), "{before}, {after}");
        operator.json(&["topology", "resume"])?;
        copying_to(stage, "node-4")?;
        operator.json(&["topology", "cancel"])?;
        let status = operator.wait(&epoch)?;
        ensure!(status["state"] == "cancelled", "{status}");
        ensure!(
            operator.shards_of("node-4")?.is_some(),
            "a node that came stays"
        );

        operator.change(&[&["topology", "rebalance"]])?;
        let shards = operator.shards_of("node-4")?;
        ensure!(shards > Some(0), "node-4 has {shards:?} shards");
        let epoch = operator.apply(&[&["node", "remove", "node-4"]])?;
        operator
            .wait_copying(|_| true)?
            .context("nothing was copied")?;
        operator.json(&["topology", "cancel"])?;
        operator.wait(&epoch)?;
        let shards = operator.shards_of("node-4")?;
        ensure!(shards.is_some(), "a node that was to leave stays");
        operator.change(&[&["node", "remove", "node-4"]])?;
        operator.check_shards("node-4", None)
    });
}

#[test]
fn a_node_lost_in_the_middle_of_a_change_is_made_good_from_the_survivors() {
    perform(&shape(4), 2, |stage| {
        let operator = stage.operator.clone();
        let epoch = operator.apply(&[&["node", "drain", "node-1"]])?;
        let moving = operator.wait_copying(|_| true)?;
        let moving = moving.context("nothing was seen being copied")?;
        let lost = moving.targets.first().context("no target")?.clone();
        stage.kill_node(&lost)?;
        stage.pause(500, 2_000);
        // The change goes on waiting for it: the operator gives it up.
        operator.json(&["topology", "cancel"])?;
        operator.wait(&epoch)?;
        operator.change(&[&["node", "lost", &lost]])?;
        operator.check_shards(&lost, None)?;
        operator.change(&[&["node", "drain", "node-1"]])?;
        operator.check_shards("node-1", Some(0))
    });
}

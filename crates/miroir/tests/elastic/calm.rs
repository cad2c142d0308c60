//! Changes while everything else is well: nobody but the operator notices.

use crate::stage::{Shape, perform};
use anyhow::ensure;

fn shape(nodes: u32, replication_factor: u32) -> Shape {
    Shape {
        nodes,
        replication_factor,
        documents_per_second: None,
    }
}

#[test]
fn a_cluster_grows_from_one_node_to_five_and_nobody_notices() {
    perform(&shape(1, 1), 1, |stage| {
        stage.add_node("node-2")?;
        stage.add_node("node-3")?;
        let (fourth, fifth) = (stage.start_node("node-4")?, stage.start_node("node-5")?);
        stage.operator.change(&[
            &["node", "add", "node-4", "--node-url", &fourth],
            &["node", "add", "node-5", "--node-url", &fifth],
        ])?;
        for number in 1..=5 {
            let shards = stage.operator.shards_of(&format!("node-{number}"))?;
            ensure!(shards > Some(0), "node-{number} has {shards:?} shards");
        }
        Ok(())
    });
}

#[test]
fn nodes_rest_and_leave_and_a_killed_one_is_replaced_and_nobody_notices() {
    perform(&shape(4, 2), 2, |stage| {
        let operator = stage.operator.clone();
        operator.change(&[&["node", "drain", "node-1"]])?;
        operator.check_shards("node-1", Some(0))?;
        operator.change(&[&["node", "activate", "node-1"]])?;
        let shards = operator.shards_of("node-1")?;
        ensure!(shards > Some(0), "node-1 has {shards:?} shards");

        operator.change(&[&["node", "remove", "node-3"]])?;
        operator.check_shards("node-3", None)?;
        stage.switch_off("node-3");

        stage.kill_node("node-2")?;
        let url = stage.start_node("node-5")?;
        let replace = [
            "node",
            "replace",
            "node-2",
            "--by",
            "node-5",
            "--node-url",
            &url,
        ];
        operator.change(&[&replace])?;
        operator.check_shards("node-2", None)?;
        let shards = operator.shards_of("node-5")?;
        ensure!(shards > Some(0), "node-5 has {shards:?} shards");
        Ok(())
    });
}

#[test]
fn copies_zones_and_weights_change_and_nobody_notices() {
    perform(&shape(3, 1), 1, |stage| {
        let operator = &stage.operator;
        operator.change(&[&["topology", "copies", "2"]])?;
        // One node is a zone of its own: it gets a copy of everything.
        operator.change(&[
            &["node", "set", "node-1", "--zone", "east"],
            &["node", "set", "node-2", "--zone", "east"],
            &["node", "set", "node-3", "--zone", "west"],
        ])?;
        operator.change(&[&["topology", "copies", "3"]])?;
        let all = operator.shards_of("node-3")?;
        operator.check_shards("node-1", all)?;
        operator.change(&[&["topology", "copies", "1"]])?;
        operator.change(&[
            &["node", "set", "node-3", "--weight", "3"],
            &["topology", "rebalance"],
        ])?;
        let (light, heavy) = (operator.shards_of("node-1")?, operator.shards_of("node-3")?);
        ensure!(
            heavy > light,
            "{heavy:?} shards by weight 3, {light:?} by 1"
        );
        Ok(())
    });
}

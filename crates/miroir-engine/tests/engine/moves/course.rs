//! Movements as they are meant to be.

use super::{
    Model, assert_placed, busy, moves, nodes, over, placed, populate, spread, start, world,
};
use crate::world::pass;
use miroir_core::id::NodeId;
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::MovementState;
use std::time::Duration;

#[test]
fn a_cluster_grows_from_one_node_to_three_while_it_is_written_and_read() {
    let world = world(&["a", "b", "c"], 6, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        assert_eq!(busy(&world, &engine, &model, 0).await, MovementState::Done);
        assert_placed(&world, "m", &model.now()).await;
        for (from_round, names) in [(100, &["a", "b"][..]), (200, &["a", "b", "c"])] {
            start(&world, &engine, spread(names, 1)).await;
            assert_eq!(
                busy(&world, &engine, &model, from_round).await,
                MovementState::Done
            );
            world.settled().await;
            assert_placed(&world, "m", &model.now()).await;
            let status = engine.movement().unwrap();
            assert_eq!(status.moves_done, status.moves_total);
            assert!(
                status.documents > 0 && status.waits_for.is_none(),
                "{status:?}"
            );
        }
        assert!(model.reads.get() > 50, "{} reads", model.reads.get());
        assert_eq!(world.payload_count().await, 0, "nothing is left over");
    });
}

#[test]
fn a_node_is_drained_and_a_dead_one_replaced() {
    for is_dead in [false, true] {
        let world = world(&["a", "b", "c", "d"], 4, 2);
        world.run(async |engine| {
            let model = Model::default();
            populate(&engine, &model).await;
            start(&world, &engine, spread(&["a", "b", "c"], 2)).await;
            assert_eq!(over(&engine).await, MovementState::Done);
            world
                .fleet
                .set("b", |faults| faults.is_unreachable = is_dead);
            let (_, sets) = placed(&world, "m").await;
            let without_b = |shard: u32| -> Vec<NodeId> {
                let set = sets[shard as usize].iter().cloned();
                set.map(|node| match node.as_str() {
                    "b" => NodeId::new("d"),
                    _ => node,
                })
                .collect()
            };
            start(&world, &engine, without_b).await;
            assert_eq!(busy(&world, &engine, &model, 10).await, MovementState::Done);
            let retired = engine.retire_nodes(nodes(&["b"])).await;
            retired.expect("nothing of it is needed");
            world.settled().await;
            // What a dead node still holds is its own affair.
            world.fleet.on("b", |node| node.indexes.clear());
            for _ in 0..400 {
                pass(Duration::from_millis(10)).await;
            }
            assert_placed(&world, "m", &model.now()).await;
        });
    }
}

#[test]
fn the_number_of_copies_goes_up_and_down() {
    let world = world(&["a", "b", "c"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        for (round, copies) in [(0, 2), (100, 3), (200, 1), (300, 2)] {
            let wanted = spread(&["a", "b", "c"], copies);
            start(&world, &engine, wanted).await;
            assert_eq!(
                busy(&world, &engine, &model, round).await,
                MovementState::Done
            );
            world.settled().await;
            assert_placed(&world, "m", &model.now()).await;
            let record = world.index("m").await.unwrap();
            assert_eq!(record.replication_factor as usize, copies);
        }
    });
}

#[test]
fn a_movement_stands_still_while_paused_and_goes_on_when_resumed() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_millis(150)).await;
        engine.pause_movement().await.unwrap();
        pass(Duration::from_secs(2)).await;
        let before = engine.movement().unwrap();
        assert_eq!(before.state, MovementState::Paused);
        model.one_of_every_kind(&engine, 1).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(engine.movement().unwrap().documents, before.documents);
        engine.resume_movement().await.unwrap();
        assert_eq!(busy(&world, &engine, &model, 2).await, MovementState::Done);
        assert_placed(&world, "m", &model.now()).await;
        assert!(
            engine.resume_movement().await.is_err(),
            "nothing stands still"
        );
        assert!(
            engine.cancel_movement().await.is_err(),
            "nothing is under way"
        );
    });
}

#[test]
fn a_movement_is_refused_by_name_where_it_cannot_be() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        let right = moves(&world, "m", |_| nodes(&["b"])).await;
        let refusal = async |change: &dyn Fn(&mut Vec<ShardMove>)| {
            let mut moves = right.clone();
            change(&mut moves);
            engine.start_movement(moves).await.unwrap_err().to_string()
        };
        let text = refusal(&|moves| moves[2].from = nodes(&["b"])).await;
        assert!(
            text.contains("shard 2 of m__0 is no longer where"),
            "{text}"
        );
        let text = refusal(&|moves| moves[1].to = nodes(&["x"])).await;
        assert!(text.contains("x, which is no node"), "{text}");
        let text = refusal(&|moves| moves[1].to.clear()).await;
        assert!(text.contains("shard 1 of m__0 would be nowhere"), "{text}");
        let text = refusal(&|moves| {
            let again = moves[0].clone();
            moves.push(again);
        })
        .await;
        assert!(text.contains("shard 0 of m__0 is named twice"), "{text}");
        engine.start_movement(right.clone()).await.unwrap();
        let text = engine.start_movement(right).await.unwrap_err().to_string();
        assert!(text.contains("movement 2 is under way"), "{text}");
        over(&engine).await;
    });
}

#[test]
fn a_movement_tells_what_it_waits_for() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(3)).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_secs(2)).await;
        let wait = engine.movement().unwrap().waits_for.expect("a reason");
        assert_eq!(wait.what, "node b");
        // Clients notice nothing of it.
        model.one_of_every_kind(&engine, 1).await;
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        assert_eq!(busy(&world, &engine, &model, 2).await, MovementState::Done);
    });
}

#[test]
fn shards_of_one_source_are_copied_together() {
    let world = world(&["a", "b"], 6, 1);
    let model = Model::default();
    world.run(async |engine| {
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
    });
    let had_second = world.run_with_step(
        "copy.read",
        1,
        |_| {},
        async |engine| {
            start(&world, &engine, |_| nodes(&["b"])).await;
            assert_eq!(over(&engine).await, MovementState::Done);
            let status = engine.movement().unwrap();
            assert_eq!(status.documents, 60);
            let is_counted = status.moves.iter().all(|one| one.documents > 0);
            assert!(is_counted, "each shard has its own share: {status:?}");
            assert_placed(&world, "m", &model.now()).await;
        },
    );
    assert!(!had_second, "six small shards are one piece");
}

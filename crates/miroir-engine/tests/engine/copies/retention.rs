//! What is kept for a node that is away or does not go on, and what comes after that.

use super::*;

#[test]
fn payloads_for_a_node_that_is_away_are_kept_up_to_the_bound_in_bytes_and_no_further() {
    for bytes in [1_000_000, 2_000] {
        let mut world = World::mirrored();
        world.copy.retention_bytes = bytes;
        world.run(async |engine| {
            populate(&engine).await;
            world.settled().await;
            world.fleet.set("b", |faults| faults.is_unreachable = true);
            for id in 0..10u64 {
                let text = "x".repeat(1000);
                let write = add_file(&engine, "m", &[json!({"id": id, "t": text})]).await;
                succeed(&engine, write).await;
            }
            pass(Duration::from_secs(15)).await;
            let kept = world.payload_count().await;
            let refill = engine.topology().await.unwrap().nodes[1].refill.clone();
            if bytes > 10_000 {
                assert!(kept >= 10 && refill.is_none(), "{kept} {refill:?}");
            } else {
                assert!(kept == 0 && refill.is_some(), "{kept} {refill:?}");
                // What comes now is not kept either.
                let more = add_file(&engine, "m", &[doc(700)]).await;
                succeed(&engine, more).await;
                succeed(&engine, create("late")).await;
                world.settled().await;
                assert_eq!(world.payload_count().await, 0);
            }
        });
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.run(async |_| is_whole(&world).await);
        assert_alike(&world);
    }
}

#[test]
fn payloads_for_a_node_that_answers_and_does_not_go_on_are_kept_up_to_the_bound_too() {
    for is_failing in [true, false] {
        let mut world = World::mirrored();
        world.copy.retention_bytes = 2_000;
        world.run(async |engine| {
            populate(&engine).await;
            world.settled().await;
            world.fleet.set("b", |faults| match is_failing {
                true => faults.is_disk_full = true,
                false => faults.is_holding = true,
            });
            for id in 0..10u64 {
                let text = "x".repeat(1000);
                let write = add_file(&engine, "m", &[json!({"id": id, "t": text})]).await;
                succeed(&engine, write).await;
            }
            assert!(!world.node("b").await.is_in_sync);
            assert!(world.payload_count().await >= 10);
            pass(Duration::from_secs(90)).await;
            let refill = engine.topology().await.unwrap().nodes[1].refill.clone();
            let reason = refill.expect("it is made anew").reason;
            assert!(reason.contains("did not go on"), "{reason}");
            assert!(world.payload_count().await <= 2);
            world.fleet.set("b", |faults| {
                faults.is_disk_full = false;
                faults.is_holding = false;
            });
            is_whole(&world).await;
        });
        assert_alike(&world);
    }
}

#[test]
fn nothing_is_dropped_for_a_node_whose_replicas_are_lost() {
    let mut world = World::mirrored();
    world.copy.retention_age = Duration::from_secs(20);
    world.run(async |engine| {
        populate(&engine).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let write = add_file(&engine, "m", &[doc(600)]).await;
        succeed(&engine, write).await;
        // Before b is back a loses all it has: what the log keeps for b is all there is.
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        world.fleet.on("a", crate::node::Node::wipe);
        pass(Duration::from_secs(3)).await;
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        pass(Duration::from_secs(60)).await;
        let topology = engine.topology().await.unwrap();
        assert_eq!(topology.nodes[1].refill, None);
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("a", false).await;
        is_whole(&world).await;
    });
    assert_alike(&world);
    assert!(world.fleet.documents("a", "m").contains_key("600"));
}

#[test]
fn payloads_for_a_node_that_is_away_are_kept_up_to_an_age() {
    let mut world = World::mirrored();
    world.copy.retention_age = Duration::from_secs(60);
    world.run(async |engine| {
        populate(&engine).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let write = add_file(&engine, "m", &[doc(600)]).await;
        succeed(&engine, write).await;
        pass(Duration::from_secs(40)).await;
        assert!(world.payload_count().await > 0);
        pass(Duration::from_secs(40)).await;
        assert_eq!(world.payload_count().await, 0);
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        is_whole(&world).await;
    });
    assert_alike(&world);
}

#[test]
fn an_index_removed_while_a_node_was_away_beyond_retention_is_removed_there_too() {
    let mut world = World::mirrored();
    world.copy.retention_bytes = 10;
    world.run(async |engine| {
        populate(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, drop_index("other")).await;
        succeed(&engine, add("m", &[doc(600)])).await;
        pass(Duration::from_secs(10)).await;
        succeed(&engine, drop_index("empty")).await;
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        is_whole(&world).await;
    });
    assert_eq!(world.fleet.on("b", |b| b.indexes.len()), 1);
    world.assert_mirrored("m");
}

//! A topology that is declared as a whole: what differs is staged, and applied where that is allowed.

use crate::world::{World, add, pass, spec, succeed, uid, until};
use async_trait::async_trait;
use miroir_api::admin::{ApplyPolicy, Declaration, DeclaredNode, TopologyChange};
use miroir_engine::Engine;
use miroir_engine::topology::discover::{Discovery, Resolver};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn documents() -> Vec<Value> {
    (0..40).map(|id| json!({"id": id})).collect()
}

fn node(name: &str) -> DeclaredNode {
    DeclaredNode {
        name: name.into(),
        url: spec(name).url,
        ..DeclaredNode::default()
    }
}

fn declared(names: &[&str], apply: ApplyPolicy) -> Declaration {
    Declaration {
        nodes: names.iter().map(|name| node(name)).collect(),
        apply,
        ..Declaration::default()
    }
}

/// Nodes a, b and c of which the store knows a and b.
fn world() -> World {
    let mut world = World::new(&["a", "b", "c"], 6, 1);
    world.unnamed = BTreeSet::from(["c".to_owned()]);
    world
}

async fn names(engine: &Engine) -> Vec<String> {
    let topology = engine.topology().await.unwrap();
    topology.nodes.into_iter().map(|node| node.name).collect()
}

async fn carried_out(engine: &Engine) {
    for _ in 0..2000 {
        if engine.staged().underway.is_none() {
            return;
        }
        pass(Duration::from_millis(100)).await;
    }
    panic!("it never ends: {:?}", engine.staged());
}

async fn count(engine: &Engine) -> u64 {
    let stats = engine.index_stats(&uid("m")).await.unwrap();
    stats["numberOfDocuments"].as_u64().unwrap()
}

#[test]
fn what_differs_is_staged_once_and_applied_by_whoever_looks_at_it() {
    let world = world();
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        let same = declared(&["a", "b"], ApplyPolicy::PlanOnly);
        let outcome = engine.declare(same).await.unwrap();
        assert_eq!((outcome.changes.len(), outcome.staged_epoch), (0, None));

        let wanted = declared(&["a", "b", "c"], ApplyPolicy::PlanOnly);
        let dry = Declaration {
            dry_run: true,
            ..wanted.clone()
        };
        let outcome = engine.declare(dry).await.unwrap();
        assert_eq!((outcome.changes.len(), outcome.staged_epoch), (1, None));
        assert_eq!(engine.staged().staged_epoch, None);

        for _ in 0..2 {
            let outcome = engine.declare(wanted.clone()).await.unwrap();
            assert_eq!(outcome.staged_epoch, Some(1), "{:?}", outcome.objections);
            assert!(!outcome.is_applied);
        }
        assert_eq!(names(&engine).await, ["a", "b"]);
        engine.apply(1).await.unwrap();
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "c"]);
        let outcome = engine.declare(wanted).await.unwrap();
        assert_eq!((outcome.changes.len(), outcome.staged_epoch), (0, None));
        assert_eq!(count(&engine).await, 40);
    });
}

#[test]
fn a_node_is_emptied_before_it_goes_and_never_because_a_line_is_missing() {
    let mut world = World::new(&["a", "b", "c"], 6, 1);
    world.declares_topology = true;
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        let without = declared(&["a", "b"], ApplyPolicy::Auto);
        let outcome = engine.declare(without.clone()).await.unwrap();
        assert_eq!(outcome.changes, Vec::<String>::new());
        assert!(
            outcome.objections[0].contains("still holds shards"),
            "{outcome:?}"
        );

        let mut drains = declared(&["a", "b", "c"], ApplyPolicy::Auto);
        drains.nodes[2].drain = true;
        let outcome = engine.declare(drains.clone()).await.unwrap();
        assert!(outcome.is_applied, "{outcome:?}");
        // What is declared meanwhile waits.
        let early = engine.declare(without.clone()).await.unwrap();
        assert!(early.staged_epoch.is_none() && !early.objections.is_empty());
        carried_out(&engine).await;
        let outcome = engine.declare(drains).await.unwrap();
        assert_eq!(outcome.changes, Vec::<String>::new());

        let outcome = engine.declare(without).await.unwrap();
        assert!(
            outcome.is_applied && outcome.objections.is_empty(),
            "{outcome:?}"
        );
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b"]);
        assert_eq!(count(&engine).await, 40);
    });
}

#[test]
fn what_is_staged_by_hand_is_not_replaced_by_what_is_declared() {
    let world = world();
    world.run(async |engine| {
        let drain = TopologyChange::DrainNode { name: "a".into() };
        engine.stage(drain).await.unwrap();
        let wanted = declared(&["a", "b", "c"], ApplyPolicy::Auto);
        let outcome = engine.declare(wanted.clone()).await.unwrap();
        assert!(
            outcome.objections[0].contains("staged by hand"),
            "{outcome:?}"
        );
        assert_eq!(engine.staged().descriptions, ["drain node a"]);
        engine.revert().await.unwrap();
        assert!(engine.declare(wanted).await.unwrap().is_applied);
    });
}

#[test]
fn a_newcomer_that_is_not_there_yet_comes_when_it_is() {
    let mut world = world();
    world.declares_topology = true;
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        world.fleet.set("c", |faults| faults.is_unreachable = true);
        engine.set_declaration(Some(declared(&["a", "b", "c"], ApplyPolicy::Auto)));
        pass(Duration::from_secs(60)).await;
        let told = engine.staged().objections;
        assert!(told[0].contains("cannot be reached"), "{told:?}");
        world.fleet.set("c", |faults| faults.is_unreachable = false);
        until("it is applied", || engine.staged().epoch == 1).await;
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["a", "b", "c"]);
        until("nothing is objected", || {
            engine.staged().objections.is_empty()
        })
        .await;
    });
}

#[test]
fn a_declared_topology_changes_nothing_by_itself_at_a_start() {
    let mut world = world();
    world.run(async |engine| succeed(&engine, add("m", &documents())).await);
    world.unnamed.clear();
    world.declares_topology = true;
    world.run(async |engine| {
        assert_eq!(
            names(&engine).await,
            ["a", "b"],
            "c is declared, and not admitted"
        );
        let mut wanted = declared(&["a", "b"], ApplyPolicy::PlanOnly);
        wanted.nodes[0].zone = Some("east".into());
        engine.set_declaration(Some(wanted));
        until("it is staged", || engine.staged().staged_epoch == Some(1)).await;
        assert_eq!(world.node("a").await.zone, None);
        // Whoever drops it is not contradicted.
        engine.revert().await.unwrap();
        pass(Duration::from_secs(60)).await;
        assert_eq!(engine.staged().staged_epoch, None);
    });
}

/// Names that a test lets be found.
#[derive(Default)]
struct Names(Mutex<BTreeSet<String>>);

#[async_trait]
impl Resolver for Names {
    async fn is_there(&self, host: &str, port: u16) -> bool {
        port == 80 && self.0.lock().contains(host)
    }
}

#[test]
fn nodes_found_by_name_come_and_those_found_no_more_stay() {
    let hosts = ["meili-0", "meili-1", "meili-2"];
    let mut world = World::new(&hosts, 6, 1);
    world.unnamed = hosts[1..].iter().map(|name| (*name).to_owned()).collect();
    world.declares_topology = true;
    let found = Arc::new(Names::default());
    let let_find = |names: &[&str]| {
        *found.0.lock() = names.iter().map(|name| format!("{name}.invalid")).collect();
    };
    world.discovery = Some(Discovery {
        before: "meili-".into(),
        after: ".invalid".into(),
        port: 80,
        interval: Duration::from_secs(5),
        resolver: found.clone(),
    });
    let_find(&["meili-0"]);
    world.run(async |engine| {
        succeed(&engine, add("m", &documents())).await;
        engine.set_declaration(Some(declared(&["meili-0"], ApplyPolicy::Auto)));
        pass(Duration::from_secs(20)).await;
        assert_eq!(names(&engine).await, ["meili-0"]);
        // The one between is still starting.
        let_find(&["meili-0", "meili-2"]);
        pass(Duration::from_secs(20)).await;
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, ["meili-0", "meili-2"]);
        let_find(&hosts);
        pass(Duration::from_secs(20)).await;
        carried_out(&engine).await;
        assert_eq!(names(&engine).await, hosts);
        assert_eq!(engine.staged().objections, Vec::<String>::new());
        // A name that is gone takes nobody away.
        let_find(&["meili-0"]);
        pass(Duration::from_secs(60)).await;
        assert_eq!(names(&engine).await, hosts);
        let told = engine.staged().objections.join(" ");
        assert!(told.contains("`meili-1` leads nowhere now"), "{told}");
        assert_eq!(engine.staged().staged_epoch, None);
        let_find(&hosts);
        pass(Duration::from_secs(20)).await;
        assert_eq!(engine.staged().objections, Vec::<String>::new());
        assert_eq!(count(&engine).await, 40);
    });
}

mod large;
mod laws;

use super::*;
use crate::id::{IndexUid, PhysicalIndex};
use crate::placement::place;
use crate::rebalance::check::{Finding, check};
use crate::rebalance::observed::{IndexState, TwinBytes};
use crate::rebalance::stage::{StagedChange, desire};
use crate::topology::{Node, NodeRole, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

const GIB: u64 = 1 << 30;

fn id(name: &str) -> NodeId {
    NodeId::new(name)
}

fn node(name: &str, zone: Option<&str>, weight_milli: u32) -> Node {
    Node {
        zone: zone.map(str::to_owned),
        weight_milli,
        ..Node::new(id(name), format!("http://{name}"))
    }
}

fn plain(names: &[&str]) -> Topology {
    Topology::new(names.iter().map(|name| node(name, None, 1000)).collect()).unwrap()
}

/// An index as it is placed when it is made.
fn index(name: &str, shards: u32, factor: u32, bytes: u64, topology: &Topology) -> IndexState {
    let placement = place(name, NonZeroU32::new(shards).unwrap(), factor, topology).unwrap();
    IndexState {
        uid: IndexUid::new(name).unwrap(),
        index: PhysicalIndex::from_stored(format!("{name}__0")),
        replication_factor: factor,
        replica_sets: placement.to_replica_sets(),
        documents: bytes / 1000,
        bytes,
    }
}

fn observed(indexes: Vec<IndexState>) -> Observed {
    Observed {
        indexes,
        ..Observed::default()
    }
}

fn wanted(topology: &Topology, observed: &Observed, changes: &[StagedChange]) -> Desired {
    let uids: Vec<IndexUid> = observed
        .indexes
        .iter()
        .map(|state| state.uid.clone())
        .collect();
    desire(topology, &uids, changes).unwrap()
}

/// Plans, checks, and plans again what came of it.
fn planned(observed: &Observed, desired: &Desired) -> (Plan, Observed) {
    let made = plan(observed, desired, None);
    assert_eq!(made.refusals, []);
    assert_eq!(check(observed, desired, &made, false), []);
    let after = made.applied_to(observed, desired);
    assert_eq!(plan(&after, desired, None).moves, [], "planned again");
    (made, after)
}

fn even(topology: &Topology, observed: &Observed) -> Observed {
    let rebalance = wanted(topology, observed, &[StagedChange::Rebalance]);
    planned(observed, &rebalance).1
}

fn targets(plan: &Plan) -> u64 {
    plan.moves
        .iter()
        .map(|m| m.shard_move.targets().count() as u64)
        .sum()
}

#[test]
fn a_newcomer_gets_its_share_and_nothing_else_moves() {
    let topology = plain(&["a", "b", "c"]);
    let observed = even(
        &topology,
        &observed(vec![index("movies", 96, 1, GIB, &topology)]),
    );
    let add = StagedChange::AddNode {
        node: node("d", None, 1000),
    };
    let (plan, _) = planned(&observed, &wanted(&topology, &observed, &[add]));
    assert_eq!(targets(&plan), 24);
    let only_to_d = plan
        .moves
        .iter()
        .all(|m| m.shard_move.targets().all(|t| *t == id("d")));
    assert!(only_to_d);
    assert!(plan.imbalance_after <= 1.05, "{}", plan.imbalance_after);
    assert_eq!(plan.bytes, 24 * GIB.div_ceil(96));
}

#[test]
fn a_drained_node_ends_empty_and_only_its_shards_move() {
    let topology = plain(&["a", "b", "c", "d"]);
    let observed = even(
        &topology,
        &observed(vec![index("movies", 64, 2, GIB, &topology)]),
    );
    let held = plan_load(&observed, "d");
    let drain = StagedChange::DrainNode { node: id("d") };
    let (plan, after) = planned(&observed, &wanted(&topology, &observed, &[drain]));
    assert_eq!(plan_load(&after, "d"), 0);
    assert_eq!(targets(&plan), held);
}

fn plan_load(observed: &Observed, name: &str) -> u64 {
    let sets = observed
        .indexes
        .iter()
        .flat_map(|state| &state.replica_sets);
    sets.filter(|set| set.contains(&id(name))).count() as u64
}

#[test]
fn a_replacement_is_copied_straight_to_the_newcomer() {
    let topology = plain(&["a", "b", "c"]);
    let mut observed = observed(vec![index("movies", 32, 2, GIB, &topology)]);
    observed.unreadable.insert(id("b"));
    let replace = StagedChange::ReplaceNode {
        old: id("b"),
        new: node("x", None, 1000),
    };
    let (plan, after) = planned(&observed, &wanted(&topology, &observed, &[replace]));
    for planned in &plan.moves {
        let ShardMove { from, to, .. } = &planned.shard_move;
        let renamed: Vec<NodeId> = from
            .iter()
            .map(|n| if *n == id("b") { id("x") } else { n.clone() })
            .collect();
        assert_eq!(*to, renamed);
    }
    assert_eq!(plan_load(&after, "b"), 0);
    assert_eq!(plan.least_replicas.before, 1);
    assert_eq!(plan.least_replicas.after, 2);
}

fn declared_lost(node: &str, accepts_data_loss: bool) -> StagedChange {
    StagedChange::DeclareLost {
        node: id(node),
        accepts_data_loss,
    }
}

#[test]
fn what_a_lost_node_held_is_copied_from_the_survivors_and_nothing_else_moves() {
    let topology = plain(&["a", "b", "c", "d"]);
    let observed = observed(vec![
        index("movies", 32, 2, GIB, &topology),
        index("books", 8, 3, GIB, &topology),
    ]);
    let lost = declared_lost("a", false);
    let (plan, _) = planned(&observed, &wanted(&topology, &observed, &[lost]));
    assert_eq!(targets(&plan), plan_load(&observed, "a"));
    // Those with one copy left come before those with two.
    let left: Vec<usize> = plan.moves.iter().map(|m| m.shard_move.from.len()).collect();
    assert!(left.is_sorted(), "{left:?}");
    assert_eq!(plan.moves.first().map(|m| m.least_replicas), Some(1));
    assert_eq!(plan.least_replicas.after, 2);
}

#[test]
fn a_shard_that_was_only_on_a_lost_node_is_told_of() {
    let topology = plain(&["a", "b"]);
    let observed = observed(vec![index("movies", 8, 1, GIB, &topology)]);
    let lost = declared_lost("a", false);
    let plan = plan(&observed, &wanted(&topology, &observed, &[lost]), None);
    assert_eq!(plan.moves, []);
    assert!(
        plan.refusals[0].to_string().contains("declared lost"),
        "{:?}",
        plan.refusals
    );
}

#[test]
fn a_loss_that_is_accepted_is_told_of_and_its_shards_begin_anew_on_the_others() {
    let topology = plain(&["a", "b", "c"]);
    let observed = observed(vec![
        index("movies", 12, 1, GIB, &topology),
        index("books", 12, 2, GIB, &topology),
    ]);
    let held = |name: &str| {
        let sets = observed
            .indexes
            .iter()
            .find(|state| state.uid.as_str() == name);
        let sets = sets.unwrap().replica_sets.iter();
        sets.filter(|set| set.contains(&id("a"))).count() as u64
    };
    let lost = declared_lost("a", true);
    let (plan, after) = planned(&observed, &wanted(&topology, &observed, &[lost]));
    assert_eq!(plan.refusals, []);
    let [given_up] = plan.given_up.as_slice() else {
        panic!("books have another copy: {:?}", plan.given_up)
    };
    assert_eq!(given_up.index, "movies");
    assert_eq!(given_up.shards.len() as u64, held("movies"));
    assert!(given_up.documents > Some(0));
    let text = given_up.to_string();
    assert!(text.contains("of 12 shards of index `movies`"), "{text}");
    // Only what can be copied counts as copied, and they come first.
    let copied: u64 = plan.moves.iter().filter(|one| one.bytes > 0).count() as u64;
    assert_eq!(copied, held("books"));
    assert!(plan.moves[0].bytes == 0 && plan.moves[0].shard_move.from == [id("a")]);
    assert_eq!(plan_load(&after, "a"), 0);
    assert_eq!(
        (plan.least_replicas.before, plan.least_replicas.after),
        (0, 1)
    );
    assert!(
        plan.warnings
            .iter()
            .all(|w| !matches!(w, Warning::NoSource { .. }))
    );
}

#[test]
fn a_loss_accepted_of_one_node_is_not_that_of_another() {
    let topology = plain(&["a", "b", "c"]);
    let observed = observed(vec![index("movies", 12, 1, GIB, &topology)]);
    let changes = [declared_lost("a", true), declared_lost("b", false)];
    let plan = plan(&observed, &wanted(&topology, &observed, &changes), None);
    assert!(plan.refusals[0].to_string().contains("--accept-data-loss"));
    assert_eq!(plan.moves, []);
}

#[test]
fn more_copies_than_nodes_are_refused_and_fewer_copies_drop_the_fullest() {
    let topology = plain(&["a", "b"]);
    let observed = observed(vec![index("movies", 8, 2, GIB, &topology)]);
    let to = |replication_factor| StagedChange::SetReplicationFactor {
        index: None,
        replication_factor,
    };
    let three = plan(&observed, &wanted(&topology, &observed, &[to(3)]), None);
    let refusal = three.refusals[0].to_string();
    assert!(
        refusal.contains("wants 3 copies of each shard and 2 nodes"),
        "{refusal}"
    );
    let (one, after) = planned(&observed, &wanted(&topology, &observed, &[to(1)]));
    assert_eq!(
        (one.bytes, plan_load(&after, "a"), plan_load(&after, "b")),
        (0, 4, 4)
    );
    assert_eq!(one.least_replicas.after, 1);
}

#[test]
fn another_zone_spreads_the_copies_over_the_zones() {
    let nodes = ["a", "b", "c", "d"].map(|name| node(name, Some("x"), 1000));
    let topology = Topology::new(nodes.to_vec()).unwrap();
    let observed = observed(vec![index("movies", 32, 2, GIB, &topology)]);
    let to_y = |name: &str| StagedChange::SetNode {
        node: id(name),
        zone: Some("y".into()),
        weight_milli: None,
        url: None,
    };
    let desired = wanted(&topology, &observed, &[to_y("c"), to_y("d")]);
    let (_, after) = planned(&observed, &desired);
    for set in &after.indexes[0].replica_sets {
        let zones: BTreeSet<_> = set.iter().map(|n| desired.topology.zone_of(n)).collect();
        assert_eq!(zones.len(), 2, "{set:?}");
    }
}

#[test]
fn size_counts_and_not_the_number_of_shards() {
    // Two indexes, one of them a hundred times the other, that happen to lie apart.
    let topology = plain(&["a", "b"]);
    let on = |name: &str, home: &str, bytes| IndexState {
        replica_sets: vec![vec![id(home)]; 40],
        ..index(name, 40, 1, bytes, &topology)
    };
    let observed = observed(vec![on("large", "a", 100 * GIB), on("small", "b", GIB)]);
    let after = even(&topology, &observed);
    let load = |name: &str| -> u64 {
        let of = |s: &IndexState| {
            s.replica_sets
                .iter()
                .filter(|set| set.contains(&id(name)))
                .count() as u64
                * s.shard_load()
        };
        after.indexes.iter().map(of).sum()
    };
    let (a, b) = (load("a") as f64, load("b") as f64);
    assert!(a / b < 1.06 && b / a < 1.06, "{a} and {b}");
}

/// Found by the property test below: most shards of one node lay on the other too, and the few that
/// did not were not looked at.
#[test]
fn nodes_that_share_most_of_their_shards_are_evened_out_too() {
    let nodes = [("a", 500), ("b", 500), ("c", 1000)].map(|(name, w)| node(name, None, w));
    let topology = Topology::new(nodes.to_vec()).unwrap();
    let observed = observed(vec![index("index-0", 171, 2, GIB, &topology)]);
    let desired = wanted(&topology, &observed, &[StagedChange::Rebalance]);
    let made = plan(&observed, &desired, None);
    assert_eq!(check(&observed, &desired, &made, true), []);
}

#[test]
fn room_for_the_twin_of_a_reshard_is_not_given_away() {
    let topology = plain(&["a", "b"]);
    let mut observed = observed(vec![index("movies", 30, 1, 30 * GIB, &topology)]);
    let remove = [StagedChange::RemoveNode { node: id("a") }];
    let desired = wanted(&topology, &observed, &remove);
    observed.free_bytes.insert(id("b"), 40 * GIB);
    let (fits, _) = planned_unchecked(&observed, &desired);
    assert_eq!(fits.refusals, []);
    let twin = TwinBytes {
        bytes: 35 * GIB,
        bytes_to_come: 30 * GIB,
    };
    observed.twins.insert(id("b"), twin);
    let (refused, _) = planned_unchecked(&observed, &desired);
    let told = refused.refusals[0].to_string();
    let promised = format!(
        "of which {} are for an index that is being re-sharded",
        30 * GIB
    );
    assert!(told.contains(&promised), "{told}");
    observed.free_bytes.insert(id("b"), 80 * GIB);
    let (plan, _) = planned_unchecked(&observed, &desired);
    assert_eq!(plan.refusals, []);
    let load = plan.nodes.iter().find(|load| load.node == id("b")).unwrap();
    assert_eq!(load.bytes_twins, 35 * GIB);
    assert_eq!(load.bytes_peak, load.bytes_after + 35 * GIB);
}

#[test]
fn a_node_that_is_known_to_be_full_is_spared_or_the_plan_is_refused() {
    let topology = plain(&["a", "b", "c"]);
    let mut observed = observed(vec![index("movies", 30, 1, 30 * GIB, &topology)]);
    observed.free_bytes.insert(id("b"), 2 * GIB);
    let remove = [StagedChange::RemoveNode { node: id("a") }];
    let desired = wanted(&topology, &observed, &remove);
    let (plan, _) = planned_unchecked(&observed, &desired);
    assert_eq!(plan.refusals, []);
    let received = |plan: &Plan, name: &str| {
        let of = plan.nodes.iter().find(|load| load.node == id(name));
        of.map_or(0, |load| load.bytes_received)
    };
    assert!(received(&plan, "b") <= 2 * GIB);
    observed.free_bytes.insert(id("c"), GIB);
    let (plan, _) = planned_unchecked(&observed, &desired);
    let refusal = plan
        .refusals
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    assert!(refusal.contains("bytes of disk"), "{refusal}");
}

fn planned_unchecked(observed: &Observed, desired: &Desired) -> (Plan, Observed) {
    let made = plan(observed, desired, Some(GIB));
    let after = made.applied_to(observed, desired);
    (made, after)
}

#[test]
fn what_an_operator_should_know_is_said() {
    let zoned = |name: &str, zone| node(name, Some(zone), 1000);
    let topology = Topology::new(vec![zoned("a", "x"), zoned("b", "x"), zoned("c", "y")]).unwrap();
    let observed = observed(vec![index("movies", 32, 1, GIB, &topology)]);
    let to = StagedChange::SetReplicationFactor {
        index: None,
        replication_factor: 3,
    };
    let (plan, _) = planned_unchecked(&observed, &wanted(&topology, &observed, &[to]));
    let text: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    let text = text.join("\n");
    for said in [
        "some zone holds two copies",
        "free disk space of",
        "a single readable copy",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(plan.seconds, Some(2));
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let topology = plain(&["a", "b", "c"]);
    let observed = observed(vec![IndexState {
        replica_sets: vec![vec![id("a")], vec![id("b")]],
        ..index("movies", 2, 1, GIB, &topology)
    }]);
    let desired = wanted(&topology, &observed, &[StagedChange::Rebalance]);
    let to = |shard, from: &[&str], to: &[&str]| PlannedMove {
        shard_move: ShardMove {
            index: PhysicalIndex::from_stored("movies__0"),
            shard: crate::id::ShardId(shard),
            from: from.iter().map(|n| id(n)).collect(),
            to: to.iter().map(|n| id(n)).collect(),
        },
        documents: 0,
        bytes: 0,
        least_replicas: 1,
    };
    let found = |moves: Vec<PlannedMove>| {
        let plan = Plan {
            moves,
            ..Plan::default()
        };
        check(&observed, &desired, &plan, true)
    };
    assert_eq!(found(vec![]), []);
    let has = |moves, is_it: &dyn Fn(&Finding) -> bool| found(moves).iter().any(is_it);
    assert!(has(vec![to(0, &["b"], &["c"])], &|f| matches!(
        f,
        Finding::WrongStart { .. }
    )));
    assert!(has(vec![to(0, &["a"], &["a"])], &|f| matches!(
        f,
        Finding::Idle { .. }
    )));
    assert!(has(vec![to(0, &["a"], &["x"])], &|f| matches!(
        f,
        Finding::NotActive { .. }
    )));
    assert!(has(vec![to(0, &["a"], &["a", "a"])], &|f| matches!(
        f,
        Finding::NotDistinct { .. }
    )));
    assert!(has(vec![to(0, &["a"], &["a", "b"])], &|f| matches!(
        f,
        Finding::WrongCount { .. }
    )));
    assert!(has(vec![to(0, &["a"], &["c"])], &|f| matches!(
        f,
        Finding::Needless { .. }
    )));
    let twice = || vec![to(0, &["a"], &["c"]), to(0, &["a"], &["b"])];
    assert!(has(twice(), &|f| matches!(f, Finding::Twice { .. })));
}

#[test]
fn evening_out_empties_a_node_that_drains() {
    let topology = Topology::new(vec![
        Node {
            role: NodeRole::Draining,
            ..node("a", None, 1000)
        },
        node("b", None, 1000),
    ])
    .unwrap();
    let state = IndexState {
        replica_sets: vec![vec![id("a")]; 4],
        ..index("movies", 4, 1, GIB, &topology)
    };
    let observed = observed(vec![state]);
    let (plan, after) = planned(
        &observed,
        &wanted(&topology, &observed, &[StagedChange::Rebalance]),
    );
    assert_eq!((targets(&plan), plan_load(&after, "b")), (4, 4));
    let loads: BTreeMap<&str, u64> = plan
        .nodes
        .iter()
        .map(|n| (n.node.as_str(), n.share_bytes))
        .collect();
    assert_eq!(loads["a"], 0);
}

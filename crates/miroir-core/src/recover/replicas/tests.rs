use super::*;
use crate::topology::Node;
use proptest::prelude::*;

const INDEX: &str = "m__1";

fn id(name: &str) -> NodeId {
    NodeId::new(name)
}

fn topology(names: &[&str]) -> Topology {
    let node = |name: &&str| Node::new(id(name), format!("http://{name}"));
    Topology::new(names.iter().map(node).collect()).unwrap()
}

fn index() -> PhysicalIndex {
    PhysicalIndex::from_stored(INDEX)
}

/// A replica with these documents, each `(shard, id, version)`.
fn replica(documents: &[(u32, &str, u64)], newest_batch: u64) -> ReplicaSeen {
    let mut seen = ReplicaSeen {
        newest_batch: Some(BatchUid(newest_batch)),
        ..ReplicaSeen::default()
    };
    for (shard, id, version) in documents {
        let held = seen
            .shards
            .entry(ShardId(*shard))
            .or_insert_with(|| Buckets::new(1));
        held.add(id, *version);
    }
    seen
}

fn find<'a>(
    index: &'a PhysicalIndex,
    shard_count: u32,
    usual: u32,
    names: &[&str],
    seen: &'a BTreeMap<NodeId, ReplicaSeen>,
) -> Replicas<'a> {
    let seen = seen
        .iter()
        .map(|(node, replica)| (node.clone(), replica))
        .collect();
    let count = NonZeroU32::new(shard_count).unwrap();
    Replicas::find(index, count, usual, &topology(names), seen).unwrap()
}

#[test]
fn shards_without_documents_lie_where_they_are_computed_to() {
    let index = index();
    let seen = BTreeMap::from([(id("a"), replica(&[], 1)), (id("b"), replica(&[], 1))]);
    let found = find(&index, 4, 2, &["a", "b"], &seen);
    assert_eq!(found.replication_factor, 2);
    assert!(found.sets.iter().all(|set| set.len() == 2));
    assert_eq!(judge(&[found]), Judged::default());
}

#[test]
fn an_index_of_fewer_copies_than_usual_keeps_them() {
    let index = index();
    let seen = BTreeMap::from([
        (id("a"), replica(&[(0, "1", 1)], 1)),
        (id("b"), replica(&[(1, "2", 1)], 1)),
    ]);
    let found = find(&index, 2, 2, &["a", "b"], &seen);
    assert_eq!(found.sets, vec![vec![id("a")], vec![id("b")]]);
}

#[test]
fn an_emptied_node_is_made_anew() {
    let index = index();
    let seen = BTreeMap::from([(id("a"), replica(&[(0, "1", 1), (1, "2", 1)], 1))]);
    let found = find(&index, 2, 2, &["a", "b"], &seen);
    assert_eq!(found.replication_factor, 2);
    let judged = judge(&[found]);
    assert_eq!(judged.refills.keys().collect::<Vec<_>>(), [&id("b")]);
    assert!(judged.unlike.is_empty() && judged.kept.is_empty());
}

#[test]
fn who_carried_out_later_batches_is_right() {
    let index = index();
    let seen = BTreeMap::from([
        (id("a"), replica(&[(0, "1", 1), (0, "2", 1)], 4)),
        (id("b"), replica(&[(0, "1", 2)], 9)),
    ]);
    let judged = judge(&[find(&index, 1, 2, &["a", "b"], &seen)]);
    assert_eq!(judged.refills.keys().collect::<Vec<_>>(), [&id("a")]);
}

#[test]
fn who_was_being_copied_to_is_not_right_against_one_that_was_not() {
    let index = index();
    let mut half = replica(&[(0, "1", 1)], 9);
    half.was_copied = true;
    let seen = BTreeMap::from([
        (id("a"), replica(&[(0, "1", 1), (0, "2", 1)], 4)),
        (id("b"), half),
    ]);
    let judged = judge(&[find(&index, 1, 2, &["a", "b"], &seen)]);
    assert_eq!(judged.refills.keys().collect::<Vec<_>>(), [&id("b")]);
}

#[test]
fn where_nothing_decides_the_shard_is_marked() {
    let index = index();
    let seen = BTreeMap::from([
        (id("a"), replica(&[(0, "1", 1)], 4)),
        (id("b"), replica(&[(0, "2", 1)], 4)),
    ]);
    let judged = judge(&[find(&index, 1, 2, &["a", "b"], &seen)]);
    assert!(judged.refills.is_empty());
    assert_eq!(judged.unlike[&index], BTreeSet::from([ShardId(0)]));
}

#[test]
fn of_equally_late_contents_the_one_more_often_held_is_right_and_stays() {
    // `a` and `d` came equally far and differ in shard 1; `c` holds there what `a` does, and `b` is
    // right against `a` in shard 0. So both `a` and `d` are made anew, and `c` keeps what is right.
    let index = index();
    let mut seen = BTreeMap::from([
        (id("a"), replica(&[(0, "1", 1), (1, "2", 1)], 2)),
        (id("b"), replica(&[(0, "1", 2)], 0)),
        (id("c"), replica(&[(1, "2", 1)], 0)),
        (id("d"), replica(&[(1, "2", 2)], 2)),
    ]);
    for name in ["a", "c", "d"] {
        seen.get_mut(&id(name)).unwrap().was_copied = true;
    }
    let judged = judge(&[find(&index, 2, 1, &["a", "b", "c", "d"], &seen)]);
    assert_eq!(
        judged.refills.keys().collect::<Vec<_>>(),
        [&id("a"), &id("d")]
    );
    assert!(judged.unlike.is_empty());
}

#[test]
fn nodes_that_are_each_right_in_something_both_stay() {
    // `a` is behind in one index, `b` in the other.
    let (one, other) = (index(), PhysicalIndex::from_stored("n__2"));
    let seen = |a: u64, b: u64| {
        BTreeMap::from([
            (id("a"), replica(&[(0, "1", a)], a)),
            (id("b"), replica(&[(0, "1", b)], b)),
        ])
    };
    let (first, second) = (seen(1, 2), seen(4, 3));
    let judged = judge(&[
        find(&one, 1, 2, &["a", "b"], &first),
        find(&other, 1, 2, &["a", "b"], &second),
    ]);
    assert!(judged.refills.is_empty());
    assert_eq!(judged.kept.len(), 2);
    assert_eq!(judged.unlike.len(), 2);
}

#[test]
fn other_settings_than_the_others_are_made_anew() {
    let index = index();
    let mut seen: BTreeMap<NodeId, ReplicaSeen> = ["a", "b", "c"]
        .map(|name| (id(name), replica(&[(0, "1", 1)], 1)))
        .into();
    let odd = seen.get_mut(&id("b")).unwrap();
    odd.settings
        .insert("stopWords".into(), serde_json::json!(["x"]));
    for name in ["a", "c"] {
        let usual = seen.get_mut(&id(name)).unwrap();
        usual
            .settings
            .insert("stopWords".into(), serde_json::json!([]));
    }
    let judged = judge(&[find(&index, 1, 3, &["a", "b", "c"], &seen)]);
    assert_eq!(judged.refills.keys().collect::<Vec<_>>(), [&id("b")]);
}

/// What up to four nodes may show of an index of three shards.
fn any_seen() -> impl Strategy<Value = BTreeMap<NodeId, ReplicaSeen>> {
    let documents = proptest::collection::vec((0u32..3, "[a-c]", 0u64..2), 0..5);
    let one = (documents, 0u64..3, any::<bool>()).prop_map(|(documents, batch, was_copied)| {
        let documents: Vec<_> = documents
            .iter()
            .map(|(s, id, v)| (*s, id.as_str(), *v))
            .collect();
        ReplicaSeen {
            was_copied,
            ..replica(&documents, batch)
        }
    });
    let node = proptest::sample::select(vec!["a", "b", "c", "d"]).prop_map(id);
    proptest::collection::btree_map(node, one, 0..5)
}

proptest! {
    #[test]
    fn whatever_a_shard_is_judged_to_hold_stays_on_a_trusted_node(seen in any_seen(), usual in 1u32..4) {
        let index = index();
        let found = find(&index, 3, usual, &["a", "b", "c", "d"], &seen);
        let judged = judge(std::slice::from_ref(&found));
        for (shard, set) in (0u32..).map(ShardId).zip(&found.sets) {
            prop_assert!(set.len() >= found.replication_factor as usize);
            // Whoever holds documents of the shard is one of its replicas.
            for (node, replica) in &seen {
                prop_assert!(!replica.shards.contains_key(&shard) || set.contains(node));
            }
            prop_assert!(set.iter().any(|node| !judged.refills.contains_key(node)));
            // What one of the best replicas holds stays on a trusted one, be it not among the best.
            let rank_of = |node: &NodeId| {
                let replica = seen.get(node);
                replica.map(|replica| (!replica.was_copied, replica.newest_batch))
            };
            if let Some(best) = set.iter().filter_map(rank_of).max() {
                let best: Vec<_> = set.iter().filter(|node| rank_of(node) == Some(best))
                    .map(|node| found.held_by(node, shard)).collect();
                let is_there = set.iter().any(|node| {
                    !judged.refills.contains_key(node) && best.contains(&found.held_by(node, shard))
                });
                prop_assert!(is_there, "{shard} {judged:?}");
            }
            // Trusted replicas that differ are marked.
            let trusted: Vec<_> = set.iter().filter(|node| !judged.refills.contains_key(*node))
                .filter_map(|node| found.held_by(node, shard)).collect();
            if trusted.windows(2).any(|pair| pair[0] != pair[1]) {
                prop_assert!(judged.unlike[&index].contains(&shard));
            }
        }
        prop_assert_eq!(judge(std::slice::from_ref(&found)), judged);
    }
}

//! Laws of plans, over any clusters and changes.

use super::*;
use proptest::prelude::*;

fn any_changes() -> impl Strategy<Value = Vec<StagedChange>> {
    let old = |n: usize| id(&format!("n{n}"));
    let zone = |z: usize| format!("z{z}");
    let change = prop_oneof![
        (0..4_usize, prop::option::of(0..3_usize), 1..4_u32).prop_map(move |(n, z, w)| {
            let zone = z.map(zone);
            StagedChange::AddNode {
                node: node(&format!("new{n}"), zone.as_deref(), w * 500),
            }
        }),
        (0..9_usize).prop_map(move |n| StagedChange::DrainNode { node: old(n) }),
        (0..9_usize).prop_map(move |n| StagedChange::RemoveNode { node: old(n) }),
        (0..9_usize).prop_map(move |n| StagedChange::DeclareLost {
            node: old(n),
            accepts_data_loss: n % 2 == 0
        }),
        (0..9_usize, 0..4_usize).prop_map(move |(o, n)| StagedChange::ReplaceNode {
            old: old(o),
            new: node(&format!("new{n}"), None, 1000),
        }),
        (0..9_usize, prop::option::of(0..3_usize), 1..4_u32).prop_map(move |(n, z, w)| {
            StagedChange::SetNode {
                node: old(n),
                zone: z.map(zone),
                weight_milli: Some(w * 500),
                url: None,
            }
        }),
        (1..4_u32).prop_map(|replication_factor| StagedChange::SetReplicationFactor {
            index: None,
            replication_factor,
        }),
        Just(StagedChange::Rebalance),
    ];
    prop::collection::vec(change, 1..4)
}

prop_compose! {
    fn any_cluster()(
        nodes in prop::collection::vec((prop::option::of(0..3_usize), 1..4_u32), 1..9),
        indexes in prop::collection::vec((1..40_u32, 1..4_u32, 0..6_u64), 0..4),
    ) -> (Topology, Observed) {
        let nodes: Vec<Node> = nodes
            .into_iter()
            .enumerate()
            .map(|(n, (zone, w))| {
                let zone = zone.map(|z| format!("z{z}"));
                node(&format!("n{n}"), zone.as_deref(), w * 500)
            })
            .collect();
        let topology = Topology::new(nodes).unwrap();
        let node_count = u32::try_from(topology.nodes().len()).unwrap();
        let made = indexes.into_iter().enumerate().map(|(n, (shards, factor, size))| {
            let bytes = if size == 0 { 0 } else { GIB << size };
            index(&format!("index-{n}"), shards, factor.min(node_count), bytes, &topology)
        });
        let observed = observed(made.collect());
        (topology, observed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_plan_passes_the_checker_and_planning_twice_changes_nothing(
        (topology, observed) in any_cluster(), changes in any_changes(),
    ) {
        let uids: Vec<IndexUid> = observed.indexes.iter().map(|s| s.uid.clone()).collect();
        // Lists that make no sense are not plans.
        let Ok(desired) = desire(&topology, &uids, &changes) else { return Ok(()) };
        let made = plan(&observed, &desired, None);
        prop_assert_eq!(&made, &plan(&observed, &desired, None));
        if !made.refusals.is_empty() {
            prop_assert_eq!(made.moves.len(), 0);
            return Ok(());
        }
        prop_assert_eq!(check(&observed, &desired, &made, false), vec![]);
        let after = made.applied_to(&observed, &desired);
        prop_assert_eq!(plan(&after, &desired, None).moves, vec![]);
    }

    #[test]
    fn no_shard_has_fewer_copies_on_the_way_than_before_or_after(
        (topology, observed) in any_cluster(), changes in any_changes(),
    ) {
        let uids: Vec<IndexUid> = observed.indexes.iter().map(|s| s.uid.clone()).collect();
        let Ok(desired) = desire(&topology, &uids, &changes) else { return Ok(()) };
        let made = plan(&observed, &desired, None);
        let least = made.least_replicas;
        prop_assert!(least.during >= least.before.min(least.after), "{:?}", least);
    }

    #[test]
    fn load_is_bounded_where_zones_leave_a_choice(
        weights in prop::collection::vec(1..4_u32, 2..8),
        shards in prop::collection::vec((20..200_u32, 0..4_u64), 1..4),
        factor in 1..3_u32,
    ) {
        let nodes: Vec<Node> = weights
            .iter()
            .enumerate()
            .map(|(n, w)| node(&format!("n{n}"), None, w * 500))
            .collect();
        let topology = Topology::new(nodes).unwrap();
        let made = shards.iter().enumerate().map(|(n, (shards, size))| {
            index(&format!("index-{n}"), *shards, factor, GIB << size, &topology)
        });
        let observed = observed(made.collect());
        let desired = wanted(&topology, &observed, &[StagedChange::Rebalance]);
        let made = plan(&observed, &desired, None);
        prop_assert_eq!(check(&observed, &desired, &made, true), vec![]);
    }
}

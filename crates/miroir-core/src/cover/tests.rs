use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn node(name: usize) -> NodeId {
    NodeId::new(format!("{name}"))
}

/// Shard s on the nodes s, s+1, … s+rf-1 of `node_count`.
fn ring(shard_count: usize, node_count: usize, rf: usize) -> Placement {
    let set = |s: usize| (0..rf).map(|r| node((s + r) % node_count)).collect();
    Placement::from_replica_sets(&(0..shard_count).map(set).collect::<Vec<_>>())
}

fn asked(cover: &Cover) -> Vec<&str> {
    cover.parts.iter().map(|part| part.node.as_str()).collect()
}

#[test]
fn one_replica_each_needs_every_node_and_no_filter() {
    let cover = choose_cover(&ring(12, 3, 1), &CoverPolicy::new(&|_| true, 1)).unwrap();
    assert_eq!(asked(&cover), ["0", "1", "2"]);
    assert!(cover.parts.iter().all(|part| part.filter.is_none()));
}

#[test]
fn a_full_copy_on_one_node_is_asked_alone() {
    let cover = choose_cover(&ring(12, 3, 3), &CoverPolicy::new(&|_| true, 1)).unwrap();
    assert_eq!(cover.parts.len(), 1);
    assert_eq!(cover.parts[0].filter, None);
}

#[test]
fn two_of_three_nodes_suffice_for_two_replicas() {
    let cover = choose_cover(&ring(12, 3, 2), &CoverPolicy::new(&|_| true, 1)).unwrap();
    let filtered = cover
        .parts
        .iter()
        .filter(|part| part.filter.is_some())
        .count();
    assert_eq!((cover.parts.len(), filtered), (2, 1));
}

#[test]
fn affinity_spreads_the_load_and_keeps_the_pages_together() {
    let placement = ring(12, 3, 3);
    let mut queries_by_node = BTreeMap::new();
    for query in 0..300 {
        let affinity = mix_for_test(query);
        let cover = choose_cover(&placement, &CoverPolicy::new(&|_| true, affinity)).unwrap();
        let again = choose_cover(&placement, &CoverPolicy::new(&|_| true, affinity)).unwrap();
        assert_eq!(cover, again);
        *queries_by_node
            .entry(cover.parts[0].node.clone())
            .or_insert(0) += 1;
    }
    assert!(
        queries_by_node.values().all(|n| (70..130).contains(n)),
        "{queries_by_node:?}"
    );
}

fn mix_for_test(x: u64) -> u64 {
    crate::hash::mix(x)
}

#[test]
fn the_cheaper_of_equal_nodes_is_asked() {
    let load_cost = |n: &NodeId| u32::from(n.as_str() != "2");
    for affinity in 0..20 {
        let policy = CoverPolicy {
            load_cost: &load_cost,
            ..CoverPolicy::new(&|_| true, affinity)
        };
        assert_eq!(
            asked(&choose_cover(&ring(6, 3, 3), &policy).unwrap()),
            ["2"]
        );
    }
}

#[test]
fn a_cover_stays_in_the_preferred_zone() {
    // Nodes 0 and 1 are zone x, 2 and 3 zone y; each zone holds all.
    let even_odd = |s: usize| vec![node(s % 2), node(2 + s % 2)];
    let placement = Placement::from_replica_sets(&(0..8).map(even_odd).collect::<Vec<_>>());
    let zone_of = |n: &NodeId| Some(if n.as_str() < "2" { "x" } else { "y" });
    let is_usable = |n: &NodeId| n.as_str() != "3";
    for affinity in 0..20 {
        let policy = CoverPolicy {
            zone_of: &zone_of,
            ..CoverPolicy::new(&|_| true, affinity)
        };
        let nodes = choose_cover(&placement, &policy).unwrap();
        assert!([["0", "1"].to_vec(), ["2", "3"].to_vec()].contains(&asked(&nodes)));
        let policy = CoverPolicy {
            preferred_zone: Some("y"),
            ..policy
        };
        assert_eq!(
            asked(&choose_cover(&placement, &policy).unwrap()),
            ["2", "3"]
        );
        // One lame node in it: leaving the zone costs no further node, so any cover will do.
        let policy = CoverPolicy {
            is_usable: &is_usable,
            ..policy
        };
        assert_eq!(choose_cover(&placement, &policy).unwrap().parts.len(), 2);
    }
}

#[test]
fn a_copy_under_way_is_filtered_out() {
    let placement = ring(2, 2, 1);
    let moving = BTreeMap::from([(node(0), vec![ShardId(1)])]);
    let policy = CoverPolicy {
        also_held: Some(&moving),
        ..CoverPolicy::new(&|_| true, 0)
    };
    let cover = choose_cover(&placement, &policy).unwrap();
    assert_eq!(
        cover.parts[0].filter.as_deref(),
        Some(r#"_miroir_shard IN ["⊰⊰⊰⊰"]"#)
    );
    assert_eq!(cover.parts[1].filter, None);
}

#[test]
fn shards_without_a_usable_node_are_named() {
    let is_usable = |n: &NodeId| n.as_str() == "0";
    let missing = choose_cover(&ring(4, 2, 1), &CoverPolicy::new(&is_usable, 0));
    assert_eq!(missing, Err(UncoveredShards(vec![ShardId(1), ShardId(3)])));
    let unknown = [ShardId(0), ShardId(99)];
    let missing = choose_cover_for(&ring(4, 2, 1), &unknown, &CoverPolicy::new(&|_| true, 0));
    assert_eq!(missing, Err(UncoveredShards(vec![ShardId(99)])));
}

#[test]
fn nothing_wanted_asks_nobody() {
    let cover = choose_cover_for(&ring(4, 2, 1), &[], &CoverPolicy::new(&|_| true, 0));
    assert_eq!(cover, Ok(Cover::default()));
}

#[test]
fn a_wide_cluster_is_covered_in_few_nodes() {
    let cover = choose_cover(&ring(4096, 300, 3), &CoverPolicy::new(&|_| true, 5)).unwrap();
    // At least 100 are needed; finding the least is hard, so the greedy choice may miss it.
    assert!(
        (100..=125).contains(&cover.parts.len()),
        "{} nodes",
        cover.parts.len()
    );
}

proptest! {
    #[test]
    fn a_cover_is_exact_usable_and_repeatable(
        sets in prop::collection::vec(prop::collection::btree_set(0..8_usize, 1..4), 1..150),
        dead in prop::collection::btree_set(0..8_usize, 0..4),
        affinity in any::<u64>(),
    ) {
        let sets: Vec<Vec<NodeId>> =
            sets.iter().map(|set| set.iter().copied().map(node).collect()).collect();
        let dead: BTreeSet<NodeId> = dead.into_iter().map(node).collect();
        let placement = Placement::from_replica_sets(&sets);
        let is_usable = |n: &NodeId| !dead.contains(n);
        let policy = CoverPolicy::new(&is_usable, affinity);
        let lost: Vec<ShardId> = placement
            .shards()
            .filter(|s| placement.replica_set(*s).all(|n| dead.contains(n)))
            .collect();
        let result = choose_cover(&placement, &policy);
        prop_assert_eq!(&result, &choose_cover(&placement, &policy));
        if !lost.is_empty() {
            prop_assert_eq!(result, Err(UncoveredShards(lost)));
            return Ok(());
        }
        let cover = result.unwrap();
        let mut seen: Vec<ShardId> = Vec::new();
        for part in &cover.parts {
            prop_assert!(!dead.contains(&part.node));
            prop_assert!(part.shards.iter().all(|s| placement.is_on(*s, &part.node)));
            let is_all = part.shards.len() == placement.shards_of(&part.node).len();
            prop_assert_eq!(part.filter.is_none(), is_all);
            seen.extend(&part.shards);
        }
        seen.sort();
        prop_assert_eq!(seen, placement.shards().collect::<Vec<_>>());
        // No smaller set of nodes covers all: eight nodes have only 256 subsets.
        let minimum = (0..256_u32)
            .filter(|subset| placement.shards().all(|s| placement.replica_set(s).any(|n| {
                let name: u32 = n.as_str().parse().unwrap();
                subset & (1 << name) != 0 && !dead.contains(n)
            })))
            .map(u32::count_ones)
            .min();
        prop_assert_eq!(minimum, Some(cover.parts.len() as u32));
    }
}

proptest! {
    #[test]
    fn a_spared_node_answers_only_for_what_no_other_holds(
        shard_count in 1usize..40, node_count in 1usize..7, rf in 1usize..4,
        away: u8, spared: u8, affinity: u64,
    ) {
        let placement = ring(shard_count, node_count, rf.min(node_count));
        let bit = |set: u8, node: &NodeId| set >> node.as_str().parse::<u8>().unwrap() & 1 == 1;
        let is_usable = |node: &NodeId| !bit(away, node);
        let is_spared = |node: &NodeId| bit(spared, node);
        let shards: Vec<ShardId> = placement.shards().collect();
        let policy = CoverPolicy::new(&is_usable, affinity);
        let best = choose_cover_sparing(&placement, &shards, &policy, &is_spared);
        let mut seen: Vec<ShardId> = best.missing.clone();
        for part in &best.cover.parts {
            prop_assert!(is_usable(&part.node));
            for shard in &part.shards {
                seen.push(*shard);
                let mut holders = placement.replica_set(*shard);
                prop_assert!(placement.replica_set(*shard).any(|node| *node == part.node));
                prop_assert!(
                    !is_spared(&part.node) || holders.all(|node| !is_usable(node) || is_spared(node))
                );
            }
        }
        for shard in &best.missing {
            prop_assert!(placement.replica_set(*shard).all(|node| !is_usable(node)));
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, shards);
        let names: BTreeSet<&NodeId> = best.cover.parts.iter().map(|part| &part.node).collect();
        prop_assert_eq!(names.len(), best.cover.parts.len());
    }
}

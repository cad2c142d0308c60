use super::*;

const GIB: u64 = 1 << 30;

fn workload() -> Workload {
    Workload {
        documents: 20_000_000,
        document_bytes: 1000,
        disk_factor: 3.0,
        replication_factor: 2,
        node_memory_bytes: 16 * GIB,
        node_disk_bytes: None,
        hot: 0.5,
        disk_fill_max: 0.7,
        nodes: None,
        shards: None,
    }
}

#[test]
fn nodes_are_as_many_as_the_hardest_bound_asks() {
    let by_memory = capacity(&workload()).unwrap();
    // 120 GB in two copies, half of it hot, in 5.7 GB of each node.
    assert_eq!((by_memory.nodes, by_memory.bound), (11, Bound::Memory));
    assert_eq!(by_memory.total_bytes, 120_000_000_000);
    let small_disks = Workload {
        node_disk_bytes: Some(10 * GIB),
        ..workload()
    };
    let by_disk = capacity(&small_disks).unwrap();
    assert_eq!((by_disk.nodes, by_disk.bound), (16, Bound::Disk));
    let tiny = Workload {
        documents: 10,
        replication_factor: 3,
        ..workload()
    };
    let by_copies = capacity(&tiny).unwrap();
    assert_eq!((by_copies.nodes, by_copies.bound), (3, Bound::Copies));
}

#[test]
fn fan_out_and_growth_are_those_of_the_real_placement() {
    let planned = capacity(&workload()).unwrap();
    let fan_out = planned.fan_out.unwrap();
    assert!((6..=11).contains(&fan_out), "{fan_out} of 11 nodes");
    // A twelfth of all copies moves to a twelfth node, but for a rounding.
    let growth = planned.growth_bytes.unwrap() as f64 / (planned.total_bytes as f64 / 12.0);
    assert!((0.9..1.1).contains(&growth), "{growth} of a fair share");
    assert!(planned.imbalance.unwrap() <= 1.05 + 1.0 / 20.0);
}

#[test]
fn what_is_not_good_is_said() {
    let few = Workload {
        nodes: Some(3),
        replication_factor: 1,
        shards: Some(2),
        ..workload()
    };
    let notes: Vec<String> = capacity(&few)
        .unwrap()
        .notes
        .iter()
        .map(ToString::to_string)
        .collect();
    let text = notes.join("\n");
    for said in [
        "3 nodes are too few: 6 are needed",
        "one copy",
        "2 shards give a node 0.7",
        "takes long to copy",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn figures_that_make_no_sense_are_refused() {
    let cases = [
        Workload {
            documents: 0,
            ..workload()
        },
        Workload {
            hot: 1.5,
            ..workload()
        },
        Workload {
            disk_factor: f64::NAN,
            ..workload()
        },
        Workload {
            shards: Some(5000),
            ..workload()
        },
        Workload {
            nodes: Some(1),
            ..workload()
        },
    ];
    for case in cases {
        assert!(capacity(&case).is_err(), "{case:?}");
    }
}

#[test]
fn a_workload_of_any_size_has_an_answer() {
    let huge = Workload {
        documents: u64::MAX,
        document_bytes: u64::MAX,
        ..workload()
    };
    assert!(capacity(&huge).unwrap().nodes > 1_000_000);
}

#[test]
fn the_shards_of_a_new_index_give_each_node_twenty_replicas() {
    for nodes in 1..=200 {
        for factor in 1..=3 {
            let shards = shards_for(nodes, factor);
            assert!(
                u64::from(shards * factor) >= 20 * nodes,
                "{nodes} {factor}: {shards}"
            );
            assert!(shards.is_power_of_two());
        }
    }
    assert_eq!(shards_for(u64::MAX, 1), SHARD_COUNT_MAX);
}

#[test]
fn advice_names_what_should_change() {
    let nodes = ["a", "b", "c"].map(|n| Node::new(NodeId::new(n), format!("http://{n}")));
    let topology = Topology::new(nodes.to_vec()).unwrap();
    let state = IndexState {
        uid: IndexUid::new("movies").unwrap(),
        index: PhysicalIndex::from_stored("movies__0"),
        replication_factor: 1,
        replica_sets: vec![vec![NodeId::new("a")]; 8],
        documents: 1000,
        bytes: 2 * GIB,
    };
    let observed = Observed {
        indexes: vec![state],
        ..Observed::default()
    };
    let text: Vec<String> = advise(&observed, &topology)
        .iter()
        .map(ToString::to_string)
        .collect();
    let text = text.join("\n");
    for said in [
        "8 shards, 2.7 replicas",
        "64 shards would",
        "one copy of each shard",
        "300 % of its share",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

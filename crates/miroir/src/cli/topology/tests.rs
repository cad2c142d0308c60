use super::*;
use miroir_api::admin::{LeastReplicas, PlannedMove};

fn node(name: &str, role: &str, before: u64, after: u64) -> PlannedNode {
    PlannedNode {
        name: name.into(),
        zone: None,
        weight: 1.0,
        role: role.into(),
        share_bytes: 0,
        bytes_before: before << 30,
        bytes_after: after << 30,
        bytes_peak: 0,
        bytes_twins: 0,
        replicas_before: before,
        replicas_after: after,
        bytes_received: after.saturating_sub(before) << 30,
    }
}

fn plan() -> TopologyPlan {
    TopologyPlan {
        epoch: 0,
        staged_epoch: Some(2),
        changes: vec!["add node b (http://b:1, weight 1)".into()],
        refusals: vec![],
        warnings: vec!["something to know".into()],
        losses: vec![],
        move_count: 12,
        copy_count: 12,
        documents: 12_000,
        bytes: 12 << 30,
        seconds: Some(384),
        disk_factor: None,
        imbalance_before: 2.0,
        imbalance_after: 1.0,
        least_replicas: LeastReplicas {
            before: 1,
            during: 1,
            after: 1,
        },
        nodes: vec![node("a", "active", 24, 12), node("b", "new", 0, 12)],
        moves: vec![PlannedMove {
            index: "movies__0".into(),
            shard: 3,
            from: vec!["a".into()],
            to: vec!["b".into()],
            documents: 1000,
            bytes: 1 << 30,
            least_replicas: 1,
        }],
    }
}

#[test]
fn a_plan_is_readable_at_eighty_columns() {
    let text = plan_text(&plan(), 10);
    assert_eq!(
        text,
        "Epoch 2 over epoch 0:\n  \
           add node b (http://b:1, weight 1)\n\n\
         12 shards move: 12 copies, 12,000 documents, 12.0 GiB, at least 7 min.\n\
         The fullest node holds 200 % of its share now, 100 % then.\n\
         Readable copies of the worst-off shard: 1 now, 1 on the way, 1 in the end.\n\n  \
           node   role     zone   weight   shards     data                   receives\n  \
           a      active   -           1   24 -> 12   24.0 GiB -> 12.0 GiB   0 B\n  \
           b      new      -           1   0 -> 12    0 B -> 12.0 GiB        12.0 GiB\n\n  \
           shard         from   to   documents   bytes     least copies\n  \
           movies__0/3   a      b        1,000   1.0 GiB              1\n  \
           and 11 more\n\n\
         Note: something to know.\n\n\
         Begin: miroir topology apply --epoch 2"
    );
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn a_loss_is_told_and_a_cluster_without_indexes_has_no_worst_shard() {
    let losing = TopologyPlan {
        losses: vec!["4 of 12 shards".into()],
        ..plan()
    };
    assert!(plan_text(&losing, 10).contains("LOST: 4 of 12 shards."));
    let empty = TopologyPlan {
        move_count: 0,
        moves: vec![],
        nodes: vec![node("a", "active", 0, 0)],
        ..plan()
    };
    let text = plan_text(&empty, 10);
    assert!(text.contains("There is no index yet."), "{text}");
    assert!(!text.contains("worst-off"), "{text}");
}

#[test]
fn a_refused_plan_tells_only_why() {
    let refused = TopologyPlan {
        refusals: vec!["too few nodes".into()],
        ..plan()
    };
    let text = plan_text(&refused, 10);
    assert!(
        text.ends_with("It cannot be carried out:\n  too few nodes"),
        "{text}"
    );
}

#[test]
fn what_is_staged_is_told_with_its_epoch() {
    let staged = StagedTopology {
        epoch: 1,
        staged_epoch: Some(4),
        changes: vec![],
        descriptions: vec!["drain node a".into()],
        underway: None,
        objections: vec!["Node `c` is declared no more.".into()],
    };
    let text = staged_text(&staged);
    assert!(
        text.contains("Staged as epoch 4:\n  drain node a"),
        "{text}"
    );
}

#[test]
fn free_space_is_read_with_its_unit() {
    assert_eq!(read_free("a=2GiB").unwrap(), ("a".into(), 2 << 30));
    assert!(read_free("a").is_err() && read_free("a=much").is_err());
}

#[test]
fn what_is_being_carried_out_names_how_to_follow_it() {
    let staged = StagedTopology {
        epoch: 1,
        staged_epoch: None,
        changes: vec![],
        descriptions: vec![],
        underway: Some("Epoch 1 is being carried out: running, 3 of 8 moves done.".into()),
        objections: vec![],
    };
    let text = staged_text(&staged);
    for needed in [
        "running, 3 of 8",
        "miroir topology status",
        "miroir topology cancel",
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
}

#[test]
fn a_movement_that_is_over_has_no_time_left() {
    let movement = Movement {
        id: Some(1),
        state: "done".into(),
        remaining_seconds: Some(0),
        bytes_per_second: Some(2048),
        ..Movement::default()
    };
    let text = movement_text(&movement);
    assert!(
        !text.contains("left") && text.contains("2.0 KiB in a second"),
        "{text}"
    );
}

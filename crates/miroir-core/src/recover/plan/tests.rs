use super::*;
use crate::hash::shard_of;
use crate::id::NodeTaskUid;
use crate::mark::{Origin, key, note};
use crate::placement::place;
use crate::reserved::{encode_seq, shard_tag};
use crate::settings::{initial_node_settings, to_node_settings, view};
use crate::task::{TaskKind, TaskStatus};
use crate::topology::Node;
use proptest::prelude::*;
use serde_json::json;

const NODES: [&str; 3] = ["a", "b", "c"];

fn topology() -> Topology {
    let node = |name: &&str| Node::new(NodeId::new(*name), format!("http://{name}"));
    Topology::new(NODES.iter().map(node).collect()).unwrap()
}

/// What a cluster was, and what its nodes show of it.
#[derive(Debug)]
struct Cluster {
    seen: BTreeMap<NodeId, NodeSeen>,
    next_node_task: u64,
}

impl Cluster {
    fn new() -> Self {
        let seen = NODES
            .map(|name| (NodeId::new(name), NodeSeen::default()))
            .into();
        Self {
            seen,
            next_node_task: 0,
        }
    }

    /// An index with these documents, written by one batch under this name.
    fn load(
        &mut self,
        physical: &str,
        uid: &str,
        shards: u32,
        batch: u64,
        task: u64,
        ids: &[String],
    ) {
        let index = PhysicalIndex::from_stored(physical);
        let count = NonZeroU32::new(shards).unwrap();
        let placement = place(physical, count, 2, &topology()).unwrap();
        let facts = SettingsFacts::default();
        let logical = Settings::new();
        for (node, seen) in &mut self.seen {
            let replica = seen.indexes.entry(index.clone()).or_default();
            replica.settings = view(&logical, &facts);
            replica.settings.extend(initial_node_settings(&facts));
            replica
                .settings
                .extend(to_node_settings(&logical, &logical, &facts));
            for (seq, id) in (0u64..).zip(ids) {
                let shard = shard_of(id, count);
                if placement.is_on(shard, node) {
                    let (tag, seq) = (shard_tag(shard, shards), encode_seq(DocumentSeq(seq)));
                    replica.note_document(id, 1, Some(&tag), Some(&seq));
                }
            }
            let uid = IndexUid::new(uid).unwrap();
            let mark = format!(
                "{}{}",
                key("k", BatchUid(batch), 0, None),
                note(Origin::Task(TaskUid(task)), &uid)
            );
            let node_task = NodeTaskUid(self.next_node_task);
            self.next_node_task += 1;
            let kind = Some(TaskKind::DocumentAdditionOrUpdate);
            let ended = TaskStatus::Succeeded;
            seen.note_task(node_task, kind, ended, Some(&index), Some(&mark), "2026");
        }
    }

    fn plan(&self, names: &[(&str, &str)], without: &[&str]) -> Result<Plan, PlanError> {
        let physical = |name: &&str| PhysicalIndex::from_stored(*name);
        let names = names
            .iter()
            .map(|(index, uid)| (physical(index), IndexUid::new(*uid).unwrap()))
            .collect();
        plan(&Input {
            seen: &self.seen,
            topology: &topology(),
            shard_count: NonZeroU32::new(8).unwrap(),
            replication_factor: 2,
            facts: SettingsFacts::default(),
            names: &names,
            without: &without.iter().map(physical).collect(),
            spare: 10,
        })
    }
}

fn ids(count: u64) -> Vec<String> {
    (0..count).map(|id| id.to_string()).collect()
}

#[test]
fn nodes_that_agree_give_the_store_that_was() {
    let mut cluster = Cluster::new();
    cluster.load("m__3", "m", 4, 6, 7, &ids(40));
    let plan = cluster.plan(&[], &[]).unwrap();
    let [index] = plan.indexes.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!((index.uid.as_str(), index.documents), ("m", 40));
    assert_eq!(index.shard_count, 4);
    let count = NonZeroU32::new(4).unwrap();
    let placement = place("m__3", count, 2, &topology()).unwrap();
    assert_eq!(index.replica_sets, placement.to_replica_sets());
    assert_eq!(index.next_seq, DocumentSeq(40));
    assert_eq!(index.settings, Settings::new());
    assert_eq!(plan.judged, Judged::default());
    assert_eq!(plan.cluster.as_deref(), Some("k"));
    assert_eq!(
        (plan.next_batch, plan.next_task),
        (BatchUid(17), TaskUid(18))
    );
    assert_eq!(plan.remarks, []);
}

#[test]
fn secrets_are_told_by_name_and_not_kept_masked() {
    let mut cluster = Cluster::new();
    cluster.load("m__3", "m", 4, 6, 7, &ids(40));
    for seen in cluster.seen.values_mut() {
        for replica in seen.indexes.values_mut() {
            let embedders = json!({"e": {"source": "rest", "apiKey": "XXX..."}});
            replica.settings.insert("embedders".into(), embedders);
        }
    }
    let plan = cluster.plan(&[], &[]).unwrap();
    assert_eq!(
        plan.indexes[0].settings,
        *json!({"embedders": {"e": {"source": "rest"}}})
            .as_object()
            .unwrap()
    );
    assert_eq!(
        plan.remarks,
        [Remark::Secret {
            index: IndexUid::new("m").unwrap(),
            setting: "embedders.e.apiKey".into(),
        }]
    );
}

#[test]
fn an_index_of_the_same_name_that_was_removed_is_left_out_unless_it_is_named() {
    let mut cluster = Cluster::new();
    cluster.load("m__3", "m", 4, 6, 7, &ids(4));
    cluster.load("m__9", "m", 4, 8, 9, &ids(2));
    let names = |plan: &Plan| -> Vec<String> {
        plan.indexes
            .iter()
            .map(|index| format!("{}={}", index.physical, index.uid))
            .collect()
    };
    let plan = cluster.plan(&[], &[]).unwrap();
    assert_eq!(names(&plan), ["m__9=m"]);
    assert!(matches!(plan.remarks.as_slice(), [Remark::Nameless { .. }]));
    let plan = cluster.plan(&[("m__3", "old")], &[]).unwrap();
    assert_eq!(names(&plan), ["m__9=m", "m__3=old"]);
    let plan = cluster.plan(&[], &["m__9"]).unwrap();
    assert_eq!(names(&plan), ["m__3=m"]);
}

#[test]
fn what_the_operator_says_must_be_possible() {
    let mut cluster = Cluster::new();
    cluster.load("m__3", "m", 4, 6, 7, &[]);
    cluster.load("n__4", "n", 4, 7, 8, &[]);
    let twice = cluster.plan(&[("m__3", "x"), ("n__4", "x")], &[]);
    assert_eq!(
        twice,
        Err(PlanError::NameTwice(IndexUid::new("x").unwrap()))
    );
    let none = PlanError::NoIndex(PhysicalIndex::from_stored("z__1"));
    assert_eq!(cluster.plan(&[("z__1", "x")], &[]), Err(none.clone()));
    assert_eq!(cluster.plan(&[], &["z__1"]), Err(none));
}

#[test]
fn every_remark_reads_as_a_sentence() {
    let index = PhysicalIndex::from_stored("m__3");
    let remark = Remark::Incomplete {
        index,
        on: vec![NodeId::new("a")],
        not_on: vec![NodeId::new("b"), NodeId::new("c")],
    };
    assert_eq!(
        remark.to_string(),
        "m__3 is on a and not on b, c: was it removed, leave it out with --without m__3"
    );
}

proptest! {
    #[test]
    fn numbers_go_on_above_all_that_were_seen(
        loads in proptest::collection::vec((0u64..50, 0u64..500, 0u64..500, 0u64..30), 1..6),
    ) {
        let mut cluster = Cluster::new();
        for (made_by, batch, task, count) in &loads {
            cluster.load(&format!("m__{made_by}"), "m", 4, *batch, *task, &ids(*count));
        }
        let plan = cluster.plan(&[], &[]).unwrap();
        for (made_by, batch, task, _) in &loads {
            prop_assert!(plan.next_batch.0 > *batch);
            prop_assert!(plan.next_task.0 > *task && plan.next_task.0 > *made_by);
        }
        for index in &plan.indexes {
            let newest = cluster.seen.values().filter_map(|seen| seen.indexes.get(&index.physical))
                .filter_map(|replica| replica.newest_seq).max();
            prop_assert!(newest.is_none_or(|newest| newest < index.next_seq));
        }
        prop_assert_eq!(cluster.plan(&[], &[]).unwrap(), plan);
    }
}

//! The same random history, told to every store, leaves the same to read.

#![cfg(feature = "sqlite")]

use super::*;
use miroir_core::id::{BatchUid, Epoch, NodeTaskUid};
use miroir_core::task::{TaskFilter, TaskKind};
use miroir_engine::coordination::{AliasTarget, JobEnd, LeaseEpoch, NewJob, SessionRecord};
use miroir_engine::port::{
    BatchQuery, BatchRecord, Delivery, NodeRecord, NodeSettingsVersion, TaskQuery,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// One call.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(Option<&'static str>, bool)>),
    Commit(Vec<Change>),
    AcquireLease(&'static str, i64),
    RenewLease(&'static str, u64, i64),
    ReleaseLease(&'static str, u64),
    AddJob(&'static str, i64),
    ClaimJob(&'static str, i64),
    RenewJob(&'static str, &'static str, i64),
    FinishJob(&'static str, &'static str, bool, i64),
    CancelJob(&'static str, i64),
    RemoveJob(&'static str),
    PutSession(&'static str, Option<u64>, i64),
    SweepSessions(i64),
    PutAlias(&'static str, &'static str, Option<u64>, i64),
    RemoveAlias(&'static str, i64),
}

const INDEXES: [&str; 3] = ["a", "b", "c"];
const PHYSICALS: [&str; 3] = ["a__0", "b__1", "c__2"];
const NODES: [&str; 2] = ["n1", "n2"];
const HOLDERS: [&str; 2] = ["p1", "p2"];
/// Few, so that steps meet.
const TASKS: u64 = 12;
const BATCHES: u64 = 4;
const SECONDS: i64 = 40;

fn pick<T: Copy + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(from)
}

fn task_uid() -> impl Strategy<Value = TaskUid> {
    (0..TASKS).prop_map(TaskUid)
}

fn batch_uid() -> impl Strategy<Value = BatchUid> {
    (0..BATCHES).prop_map(BatchUid)
}

fn update() -> impl Strategy<Value = Change> {
    let moments = (option::of(0..SECONDS), option::of(0..SECONDS));
    (
        task_uid(),
        option::of(batch_uid()),
        option::of(pick(&INDEXES)),
        pick(&TaskStatus::ALL),
        option::of(task_uid()),
        moments,
    )
        .prop_map(
            |(uid, batch_uid, name, status, canceled_by, (started, finished))| {
                Change::UpdateTask(Box::new(TaskRecord {
                    uid,
                    batch_uid,
                    index_uid: name.map(index),
                    status,
                    operation: Operation::DeleteIndex,
                    inline_payload: None,
                    payload: None,
                    canceled_by,
                    details: json!({"of": uid.0}),
                    error: canceled_by.map(|by| json!(by.0)),
                    custom_metadata: None,
                    enqueued_at: at(0),
                    started_at: started.map(at),
                    finished_at: finished.map(at),
                }))
            },
        )
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (any::<bool>(), 0..9_u64).prop_map(|(is_applied, task)| Delivery {
        node_tasks: vec![NodeTaskUid(task)],
        is_sent: true,
        is_applied,
        error: None,
        deleted_documents: task,
        ..Delivery::default()
    })
}

fn put_batch() -> impl Strategy<Value = Change> {
    let deliveries = prop::collection::btree_map(pick(&NODES).prop_map(node), delivery(), 0..3);
    (
        batch_uid(),
        vec(task_uid(), 1..3),
        deliveries,
        any::<bool>(),
    )
        .prop_map(|(uid, tasks, deliveries, is_done)| {
            let finished_at = is_done.then(|| at(3));
            let plan = json!([uid.0]);
            Change::PutBatch(Box::new(BatchRecord {
                uid,
                tasks,
                plan,
                deliveries,
                is_done,
                started_at: at(2),
                finished_at,
            }))
        })
}

fn change() -> impl Strategy<Value = Change> {
    let node_record = |(name, is_in_sync, applied): (_, _, Option<BatchUid>)| {
        Change::PutNode(Box::new(NodeRecord {
            id: node(name),
            url: "http://n".to_owned(),
            zone: None,
            weight_milli: 1000,
            is_in_sync,
            out_of_sync_reason: None,
            applied_batch: applied,
        }))
    };
    prop_oneof![
        6 => update(),
        1 => task_uid().prop_map(Change::ForgetPayload),
        2 => task_uid().prop_map(Change::RemoveTask),
        3 => put_batch(),
        2 => (batch_uid(), pick(&NODES), delivery()).prop_map(|(batch, name, delivery)| {
            Change::PutDelivery { batch, node: node(name), delivery }
        }),
        1 => batch_uid().prop_map(|uid| Change::FinishBatch { uid, finished_at: at(4) }),
        2 => batch_uid().prop_map(Change::RemoveBatch),
        1 => vec(batch_uid(), 0..3).prop_map(Change::SweepBatches),
        3 => (pick(&INDEXES), pick(&PHYSICALS)).prop_map(|(name, physical)| {
            Change::PutIndex(Box::new(index_record(name, physical)))
        }),
        1 => pick(&INDEXES).prop_map(|name| Change::RemoveIndex(index(name))),
        2 => (pick(&INDEXES), pick(&INDEXES)).prop_map(|(from, to)| {
            Change::RenameIndex { from: index(from), to: index(to) }
        }),
        1 => (task_uid(), pick(&INDEXES), pick(&INDEXES)).prop_map(|(before, a, b)| {
            Change::ExchangeTaskNames { before, names: (index(a), index(b)) }
        }),
        1 => (pick(&PHYSICALS), 0..3_u64, vec(vec(pick(&NODES).prop_map(node), 0..3), 0..3))
            .prop_map(|(name, epoch, replica_sets)| Change::PutPlacement {
                index: physical(name),
                epoch: Epoch(epoch),
                replica_sets,
            }),
        1 => pick(&PHYSICALS).prop_map(|name| Change::RemovePlacement(physical(name))),
        1 => (pick(&NODES), any::<bool>(), option::of(batch_uid())).prop_map(node_record),
        1 => pick(&NODES).prop_map(|name| Change::RemoveNode(node(name))),
        1 => (pick(&PHYSICALS), pick(&NODES), task_uid()).prop_map(|(index, name, version)| {
            Change::PutNodeSettingsVersion(NodeSettingsVersion {
                index: physical(index),
                node: node(name),
                version,
                updated_at: at(1),
            })
        }),
        1 => (pick(&["k1", "k2"]), 0..5_u8).prop_map(|(key, value)| {
            Change::PutFact { key: key.to_owned(), value: json!(value) }
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let now = || 0..SECONDS;
    prop_oneof![
        8 => vec((option::of(pick(&INDEXES)), any::<bool>()), 1..4).prop_map(Step::Append),
        16 => vec(change(), 1..4).prop_map(Step::Commit),
        1 => (pick(&HOLDERS), now()).prop_map(|(holder, now)| Step::AcquireLease(holder, now)),
        1 => (pick(&HOLDERS), 1..4_u64, now()).prop_map(|(h, epoch, t)| Step::RenewLease(h, epoch, t)),
        1 => (pick(&HOLDERS), 1..4_u64).prop_map(|(holder, epoch)| Step::ReleaseLease(holder, epoch)),
        1 => (pick(&INDEXES), now()).prop_map(|(id, now)| Step::AddJob(id, now)),
        1 => (pick(&HOLDERS), now()).prop_map(|(holder, now)| Step::ClaimJob(holder, now)),
        1 => (pick(&INDEXES), pick(&HOLDERS), now()).prop_map(|(id, h, t)| Step::RenewJob(id, h, t)),
        1 => (pick(&INDEXES), pick(&HOLDERS), any::<bool>(), now())
            .prop_map(|(id, holder, is_ok, now)| Step::FinishJob(id, holder, is_ok, now)),
        1 => (pick(&INDEXES), now()).prop_map(|(id, now)| Step::CancelJob(id, now)),
        1 => pick(&INDEXES).prop_map(Step::RemoveJob),
        1 => (pick(&INDEXES), option::of(0..TASKS), now())
            .prop_map(|(id, task, now)| Step::PutSession(id, task, now)),
        1 => now().prop_map(Step::SweepSessions),
        1 => (pick(&INDEXES), pick(&INDEXES), option::of(0..4_u64), now())
            .prop_map(|(name, to, expected, now)| Step::PutAlias(name, to, expected, now)),
        1 => (pick(&INDEXES), now()).prop_map(|(name, now)| Step::RemoveAlias(name, now)),
    ]
}

fn query() -> impl Strategy<Value = TaskQuery> {
    fn list<T: std::fmt::Debug>(
        one: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<Vec<T>>> {
        option::weighted(0.3, vec(one, 0..4))
    }
    fn bound() -> impl Strategy<Value = Option<i64>> {
        let nanos = |seconds| i64::try_from(at(seconds).unix_timestamp_nanos()).unwrap();
        option::weighted(0.1, (0..SECONDS).prop_map(nanos))
    }
    let kinds = [
        TaskKind::DocumentAdditionOrUpdate,
        TaskKind::TaskDeletion,
        TaskKind::IndexSwap,
    ];
    let names = list(pick(&INDEXES).prop_map(str::to_owned));
    let pattern = (pick(&INDEXES), 0..3_usize).prop_map(|(name, cut)| match name.get(..cut) {
        Some(prefix) => format!("{prefix}*"),
        None => name.to_owned(),
    });
    let filter = (
        (list(0..TASKS), list(0..BATCHES), list(0..TASKS)),
        list(prop::sample::select(kinds.to_vec())),
        list(pick(&TaskStatus::ALL)),
        (names, list(pattern)),
        (bound(), bound(), bound(), bound(), bound(), bound()),
    )
        .prop_map(
            |(
                (uids, batch_uids, canceled_by),
                types,
                statuses,
                (index_uids, index_patterns),
                bounds,
            )| TaskFilter {
                uids,
                batch_uids,
                canceled_by,
                types,
                statuses,
                index_uids,
                index_patterns,
                before_enqueued_at: bounds.0,
                after_enqueued_at: bounds.1,
                before_started_at: bounds.2,
                after_started_at: bounds.3,
                before_finished_at: bounds.4,
                after_finished_at: bounds.5,
            },
        );
    (filter, option::of(task_uid()), 0..6_usize, any::<bool>()).prop_map(
        |(filter, from, limit, is_reversed)| TaskQuery {
            filter,
            from,
            limit,
            is_reversed,
        },
    )
}

/// Does one step and tells what came of it.
async fn perform(store: &dyn Whole, step: Step) -> String {
    let until = |now: i64| at(now + 10);
    match step {
        Step::Append(entries) => {
            let entries = entries.into_iter().map(|(name, has_payload)| {
                let entry = name.map_or_else(global_entry, entry);
                NewEntry {
                    payload: entry.payload.filter(|_| has_payload),
                    ..entry
                }
            });
            format!("{:?}", store.append(entries.collect()).await)
        }
        Step::Commit(changes) => format!("{:?}", store.commit(changes).await),
        Step::AcquireLease(holder, now) => {
            format!(
                "{:?}",
                store.acquire_lease(holder, at(now), until(now)).await
            )
        }
        Step::RenewLease(holder, epoch, now) => {
            let epoch = LeaseEpoch(epoch);
            format!(
                "{:?}",
                store.renew_lease(holder, epoch, at(now), until(now)).await
            )
        }
        Step::ReleaseLease(holder, epoch) => {
            format!("{:?}", store.release_lease(holder, LeaseEpoch(epoch)).await)
        }
        Step::AddJob(id, now) => {
            let job = NewJob {
                id: id.to_owned(),
                kind: "x".to_owned(),
                params: json!(now),
            };
            format!("{:?}", store.add_job(job, at(now)).await)
        }
        Step::ClaimJob(holder, now) => {
            format!(
                "{:?}",
                store.claim_job(&["x"], holder, at(now), until(now)).await
            )
        }
        Step::RenewJob(id, holder, now) => {
            format!(
                "{:?}",
                store
                    .renew_job(id, holder, json!(now), at(now), until(now))
                    .await
            )
        }
        Step::FinishJob(id, holder, is_ok, now) => {
            let end = if is_ok {
                JobEnd::Succeeded
            } else {
                JobEnd::Failed(json!("no"))
            };
            format!("{:?}", store.finish_job(id, holder, end, at(now)).await)
        }
        Step::CancelJob(id, now) => format!("{:?}", store.cancel_job(id, at(now)).await),
        Step::RemoveJob(id) => format!("{:?}", store.remove_job(id).await),
        Step::PutSession(id, min_task, now) => {
            let session = SessionRecord {
                id: id.to_owned(),
                min_task: min_task.map(TaskUid),
                pinned: None,
                expires_at: until(now),
            };
            format!("{:?}", store.put_session(session, at(now)).await)
        }
        Step::SweepSessions(now) => {
            format!("{:?}", store.remove_expired_sessions(at(now)).await)
        }
        Step::PutAlias(name, to, expected, now) => {
            let target = AliasTarget::Single(index(to));
            format!(
                "{:?}",
                store
                    .put_alias(&index(name), target, expected, at(now))
                    .await
            )
        }
        Step::RemoveAlias(name, now) => {
            format!("{:?}", store.remove_alias(&index(name), at(now)).await)
        }
    }
}

/// Everything there is to read, as text.
async fn observe(store: &dyn Whole, queries: &[TaskQuery]) -> Vec<String> {
    let mut seen = Vec::new();
    for uid in 0..TASKS * 4 {
        seen.push(format!("{:?}", store.load_task(TaskUid(uid)).await));
    }
    for query in queries {
        seen.push(format!(
            "{query:?}: {:?}",
            store.list_tasks(query.clone()).await
        ));
        let batches = BatchQuery {
            filter: query.filter.clone(),
            from: query.from.map(|uid| BatchUid(uid.0 / 3)),
            limit: query.limit,
            is_reversed: query.is_reversed,
        };
        seen.push(format!(
            "{batches:?}: {:?}",
            store.list_batches(batches.clone()).await
        ));
    }
    for uid in 0..BATCHES {
        seen.push(format!("{:?}", store.load_batch(BatchUid(uid)).await));
    }
    seen.push(format!(
        "{:?}",
        store.load_pending(Some(TaskUid(1)), 3).await
    ));
    seen.push(format!("{:?}", store.count_tasks().await));
    seen.push(format!("{:?}", store.load_open_batches().await));
    seen.push(format!("{:?}", store.last_batch_uid().await));
    seen.push(format!("{:?}", store.load_indexes().await));
    for name in PHYSICALS {
        seen.push(format!("{:?}", store.load_placement(&physical(name)).await));
    }
    seen.push(format!("{:?}", store.load_nodes().await));
    seen.push(format!("{:?}", store.load_node_settings_versions().await));
    seen.push(format!("{:?}", store.load_fact("k1").await));
    seen.push(format!("{:?}", store.load_lease().await));
    seen.push(format!("{:?}", store.load_jobs().await));
    seen.push(format!("{:?}", store.load_aliases().await));
    for name in INDEXES {
        seen.push(format!("{:?}", store.load_session(name, at(20)).await));
        seen.push(format!(
            "{:?}",
            store.load_alias_history(&index(name)).await
        ));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_random_history_reads_the_same_from_every_store(
        steps in vec(step(), 1..40),
        queries in vec(query(), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let memory = crate::MemoryStore::new();
        let sqlite = crate::open(folder.path()).unwrap();
        runtime.block_on(async {
            for step in steps {
                let expected = perform(&memory, step.clone()).await;
                let got = perform(&*sqlite, step.clone()).await;
                prop_assert_eq!(got, expected, "after {:?}", step);
            }
            let expected = observe(&memory, &queries).await;
            prop_assert_eq!(&observe(&*sqlite, &queries).await, &expected);
            drop(sqlite);
            let sqlite = crate::open(folder.path()).unwrap();
            prop_assert_eq!(&observe(&*sqlite, &queries).await, &expected);
            Ok(())
        })?;
    }
}

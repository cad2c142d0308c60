//! What an import of a dump needs beside the ordinary write path: to know that nothing is there, to
//! note that it has begun and ended, and to bring a history along.

use crate::coordination::WebhookRecord;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::job::INSTANCE_FACT;
use crate::port::{Change, TaskQuery, TaskRecord};
use miroir_core::id::TaskUid;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Settings that a dump always holds, and that a node takes only with a feature switched on.
pub const GATED_SETTINGS: &[(&str, &str)] = &[("chat", "chatCompletions")];

/// The fact that is true from the first write of an import to its end.
const IMPORT_FACT: &str = "importIsOpen";
/// Tasks changed at a time.
const TASKS_PAGE: usize = 1000;

impl Engine {
    /// No index is there, and no task was ever made.
    ///
    /// # Errors
    /// The store failed.
    pub async fn is_fresh(&self) -> Result<bool, EngineError> {
        if !self.indexes().is_empty() {
            return Ok(false);
        }
        let query = TaskQuery {
            limit: 1,
            ..TaskQuery::default()
        };
        Ok(self.tasks(query).await?.total == 0)
    }

    /// An import was begun and not ended: what is here is a part of something.
    ///
    /// # Errors
    /// The store failed.
    pub async fn has_open_import(&self) -> Result<bool, EngineError> {
        let fact = self.shared().ports.store.load_fact(IMPORT_FACT).await?;
        Ok(fact == Some(Value::Bool(true)))
    }

    /// Notes that an import begins or has ended, durably.
    ///
    /// # Errors
    /// The store failed.
    pub async fn set_open_import(&self, is_open: bool) -> Result<(), EngineError> {
        self.put_fact(IMPORT_FACT, json!(is_open)).await
    }

    /// Takes over the uid of the instance that was dumped. It only goes into dumps.
    ///
    /// # Errors
    /// The store failed.
    pub async fn adopt_instance_uid(&self, uid: Uuid) -> Result<(), EngineError> {
        self.put_fact(INSTANCE_FACT, json!(uid.hyphenated().to_string()))
            .await
    }

    /// Takes over the webhooks of the instance that was dumped. They are called from the next start of
    /// the engine on, so that nobody is told of what an import writes.
    ///
    /// # Errors
    /// The store failed.
    pub async fn adopt_webhooks(&self, webhooks: Vec<WebhookRecord>) -> Result<(), EngineError> {
        let instance = &self.shared().ports.instance;
        for webhook in webhooks {
            instance.put_webhook(webhook).await?;
        }
        Ok(())
    }

    async fn put_fact(&self, key: &str, value: Value) -> Result<(), EngineError> {
        let key = key.to_owned();
        let fact = Change::PutFact { key, value };
        Ok(self.shared().ports.store.commit(vec![fact]).await?)
    }

    /// Adds tasks that ended elsewhere, under their own uids.
    ///
    /// # Errors
    /// The store failed, a task is not final, or its uid is taken; then none was added.
    pub async fn add_past_tasks(&self, tasks: Vec<TaskRecord>) -> Result<(), EngineError> {
        let changes = tasks.into_iter().map(Box::new).map(Change::AddPastTask);
        Ok(self.shared().ports.store.commit(changes.collect()).await?)
    }

    /// Forgets the tasks from `first` on that have ended and that no node needs any more; returns
    /// how many stay.
    ///
    /// # Errors
    /// The store failed.
    pub async fn forget_tasks_from(&self, first: TaskUid) -> Result<u64, EngineError> {
        let store = &self.shared().ports.store;
        let open: BTreeSet<TaskUid> = store
            .load_open_batches()
            .await?
            .into_iter()
            .flat_map(|batch| batch.tasks)
            .collect();
        let mut kept = 0;
        let mut from = Some(first);
        while let Some(uid) = from {
            let page = store
                .list_tasks(TaskQuery {
                    from: Some(uid),
                    limit: TASKS_PAGE,
                    is_reversed: true,
                    ..TaskQuery::default()
                })
                .await?;
            from = page.next;
            let (gone, stay): (Vec<_>, Vec<_>) = page
                .tasks
                .into_iter()
                .partition(|task| task.status.is_final() && !open.contains(&task.uid));
            kept += stay.len() as u64;
            let changes = gone.iter().map(|task| Change::RemoveTask(task.uid));
            store.commit(changes.collect()).await?;
            // While the log is kept, their payloads are still there.
            let files: Vec<_> = gone.into_iter().filter_map(|task| task.payload).collect();
            self.shared().discard(&files).await;
        }
        Ok(kept)
    }
}

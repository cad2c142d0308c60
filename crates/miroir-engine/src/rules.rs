//! Dynamic search rules: kept here and known to no node. A change is a task, which ends in the
//! commit that stores it, in the order of the log; readers share one immutable book.

use crate::dispatcher::Dispatcher;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{BatchRecord, Change, Store, StoreError, TaskRecord};
use crate::state::Shared;
use miroir_api::task::format_date;
use miroir_core::rules::{Rule, RuleBook};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Opens the routes of rules, and lets them have an effect; Miroir's own, so no node is told.
pub const DYNAMIC_SEARCH_RULES: &str = "dynamicSearchRules";

/// The fact that holds them all. They are few and seldom changed.
const FACT: &str = "dynamicSearchRules";

/// The rules that the store holds.
pub(crate) async fn load(store: &dyn Store) -> Result<RuleBook, StoreError> {
    let Some(stored) = store.load_fact(FACT).await? else {
        return Ok(RuleBook::default());
    };
    serde_json::from_value(stored).map_err(|error| StoreError::Corrupt {
        what: "list of dynamic search rules",
        cause: error.to_string(),
    })
}

fn fact(book: &RuleBook) -> Result<Change, EngineError> {
    let value = serde_json::to_value(book)
        .map_err(|error| EngineError::Answer(format!("a rule cannot be written: {error}")))?;
    Ok(Change::PutFact {
        key: FACT.to_owned(),
        value,
    })
}

/// The rules that have a say in searches: none while they are off.
pub(crate) fn in_force(shared: &Shared) -> Option<Arc<RuleBook>> {
    let book = shared.rules.load();
    let is_on = !book.is_empty() && shared.features.is_on(DYNAMIC_SEARCH_RULES);
    is_on.then(|| book.clone())
}

impl Dispatcher {
    /// Carries out a task that changes rules, and ends it.
    pub(super) async fn change_rules(&mut self, task: &TaskRecord) -> Result<(), EngineError> {
        let shared = self.shared.clone();
        // It may have been withdrawn while it waited.
        let stored = shared.ports.store.load_task(task.uid).await?;
        let Some(mut task) = stored.filter(|task| task.status == TaskStatus::Enqueued) else {
            return Ok(());
        };
        let now = shared.ports.clock.now();
        let mut book = RuleBook::clone(&shared.rules.load());
        match &task.operation {
            Operation::UpdateRule { rule_uid, update } => {
                book.update(rule_uid, update, &format_date(task.enqueued_at));
            }
            Operation::DeleteRule { rule_uid } => book.remove(rule_uid),
            Operation::ClearRules => {
                task.details = json!({ "deletedDocuments": book.len() });
                book = RuleBook::default();
            }
            _ => return Ok(()),
        }
        let batch = self.take_batch_uid();
        task.status = TaskStatus::Succeeded;
        task.batch_uid = Some(batch);
        task.started_at = Some(now);
        task.finished_at = Some(shared.ports.clock.now());
        // A batch without deliveries: no node has a part in it.
        let record = BatchRecord {
            uid: batch,
            tasks: vec![task.uid],
            plan: Value::Null,
            deliveries: BTreeMap::new(),
            is_done: true,
            started_at: now,
            finished_at: task.finished_at,
        };
        let changes = [
            fact(&book)?,
            Change::PutBatch(Box::new(record)),
            Change::UpdateTask(Box::new(task)),
        ];
        self.commit(&changes).await?;
        shared.rules.store(Arc::new(book));
        shared.step("rules.changed").await;
        shared.hooks_ring.notify_waiters();
        Ok(())
    }
}

impl Engine {
    /// All rules, also while they are off.
    #[must_use]
    pub fn rules(&self) -> Arc<RuleBook> {
        self.shared().rules.load_full()
    }

    /// Puts the rules of a dump in place of those that are there.
    ///
    /// # Errors
    /// The store failed; then nothing was changed.
    pub async fn adopt_rules(&self, rules: Vec<Rule>) -> Result<(), EngineError> {
        let shared = self.shared();
        let mut book = RuleBook::default();
        for rule in rules {
            book.put(rule);
        }
        let change = fact(&book)?;
        shared.noted(shared.ports.store.commit(vec![change]).await)?;
        shared.rules.store(Arc::new(book));
        Ok(())
    }
}

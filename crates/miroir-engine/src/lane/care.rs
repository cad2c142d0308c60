//! The end of a batch on the node: it is reported, and what failed is delivered with care, entry by
//! entry, until it is ruled what the failure is.

use super::outcome::outcome;
use super::{Failure, ILL_DELAY, Lane, POLL_DELAY_MAX, POLL_DELAY_MIN, POLL_UIDS_MAX, Part, Sent};
use crate::completer::{Event, NodeOutcome, Ruling};
use crate::deliver::Section;
use crate::ills::{CANCELED, is_nodes_own};
use crate::plan::Work;
use crate::port::{NodeError, NodeTaskQuery};
use crate::state::LiveBatch;
use miroir_core::id::NodeTaskUid;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Lane {
    /// Reports the end of a batch, after delivering it with care if it failed.
    pub(super) async fn finish(&mut self, sent: Sent) -> Result<(), Failure> {
        let batch = sent.batch;
        let mut outcome = outcome(&batch, &sent.parts);
        outcome.is_moot = sent.is_moot;
        if outcome.is_failure() && self.is_worth_care(&batch, &outcome) {
            outcome = self.deliver_with_care(&batch).await?;
        }
        loop {
            let is_failure = outcome.is_failure();
            let (reply, ruling) = oneshot::channel();
            self.has_unnoted = true;
            self.emit(Event::Applied {
                node: self.node.clone(),
                batch: batch.uid,
                outcome: Box::new(outcome),
                reply: is_failure.then_some(reply),
            });
            if !is_failure {
                return Ok(());
            }
            match ruling.await {
                Ok(Ruling::Accepted) | Err(_) => return Ok(()),
                // The other replicas did it: this node is ill. It is tried again for ever, since
                // nothing later may be applied before.
                Ok(Ruling::TryAgain) => {
                    self.shared.ports.clock.sleep(ILL_DELAY).await;
                    if self.is_gone(&batch).await? || self.is_forgiven(&batch) {
                        outcome = NodeOutcome {
                            is_moot: true,
                            ..NodeOutcome::default()
                        };
                        continue;
                    }
                    outcome = self.deliver_with_care(&batch).await?;
                }
            }
        }
    }

    /// A neighbour may be to blame: another entry of the batch, or another batch that the node
    /// grouped with it.
    fn is_worth_care(&self, batch: &LiveBatch, outcome: &NodeOutcome) -> bool {
        let message = outcome
            .error
            .as_ref()
            .and_then(|e| e.get("message"))
            .and_then(Value::as_str);
        // Somebody canceled it behind our back: it was not done, and is done again.
        let is_retried = message.is_none_or(|text| text.starts_with("Index `") || text == CANCELED);
        let is_divided = batch.transit.is_at(&self.node);
        batch.plan.entries.len() > 1 || is_retried || is_divided
    }

    /// Delivers a batch entry by entry, each alone on the node, then sends again what had been
    /// sent after it, so that the node ends with the newest.
    async fn deliver_with_care(&mut self, batch: &Arc<LiveBatch>) -> Result<NodeOutcome, Failure> {
        if let Some(last) = self.sent.back() {
            self.tell_mixed(last.batch.uid);
        }
        while let Some(later) = self.sent.pop_back() {
            // Owed before anything is awaited: a call that fails must not lose it.
            self.pending.push_front(later.batch.uid);
            self.wait_for(later.parts).await?;
        }
        self.adoptable.clear();
        if !matches!(
            batch.plan.work,
            Work::AddDocuments { .. } | Work::DeleteDocuments
        ) {
            let parts = self.send(batch, None, Section::All).await?;
            let parts = self.wait_for(parts).await?;
            return Ok(outcome(batch, &parts));
        }
        let mut total = NodeOutcome::default();
        for entry in batch
            .plan
            .entries
            .iter()
            .filter(|entry| entry.error.is_none())
        {
            // What is for joining shards must not be grouped with what has a say.
            for section in [Section::Full, Section::Joining, Section::Twin] {
                let parts = self.send(batch, Some(entry.task), section).await?;
                let parts = self.wait_for(parts).await?;
                let one = outcome(batch, &parts);
                total.deleted_documents += one.deleted_documents;
                total.has_spoilt |= one.has_spoilt;
                total.has_spoilt_twin |= one.has_spoilt_twin;
                if let Some(error) = one.error.as_ref().filter(|error| is_nodes_own(error)) {
                    // The node is at fault, and would say the same of all the others.
                    return Ok(NodeOutcome {
                        error: Some(error.clone()),
                        ..NodeOutcome::default()
                    });
                }
                if let Some(error) = one.error {
                    total.task_errors.insert(entry.task, error);
                }
            }
        }
        Ok(total)
    }

    pub(super) async fn wait_for(&mut self, mut parts: Vec<Part>) -> Result<Vec<Part>, Failure> {
        let mut delay = POLL_DELAY_MIN;
        loop {
            let open = parts.iter().filter(|part| part.end.is_none());
            let uids: Vec<NodeTaskUid> = open.map(|part| part.task).take(POLL_UIDS_MAX).collect();
            if uids.is_empty() {
                return Ok(parts);
            }
            let limit = u32::try_from(uids.len()).unwrap_or(u32::MAX);
            let found = self
                .fetch_tasks(NodeTaskQuery {
                    uids: uids.clone(),
                    from: None,
                    limit,
                })
                .await?;
            for part in &mut parts {
                if part.end.is_none() {
                    let task = found.iter().find(|task| task.uid == part.task);
                    match task {
                        Some(task) if task.status.is_final() => {
                            self.newest_end = self.newest_end.max(Some(task.uid));
                            part.end = Some(task.clone());
                        }
                        Some(_) => {}
                        None if uids.contains(&part.task) => {
                            let cause = format!("it has lost its task {}", part.task);
                            let node = self.node.clone();
                            return Err(NodeError::UnknownOutcome { node, cause }.into());
                        }
                        None => {}
                    }
                }
            }
            self.shared.ports.clock.sleep(delay).await;
            delay = (delay * 3 / 2).min(POLL_DELAY_MAX);
        }
    }
}

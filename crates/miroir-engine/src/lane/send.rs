//! Sending a batch: its requests one after the other, but for those that the node has already.

use super::order::{comes_alone, must_follow_the_end_of};
use super::place::Doubt;
use super::{Failure, Lane, Part, Sent, refused};
use crate::completer::Event;
use crate::deliver::{Requests, Section};
use crate::error::EngineError;
use crate::plan::Work;
use crate::port::{NodeError, NodeWrite};
use crate::state::LiveBatch;
use crate::{features, prober};
use miroir_core::id::{NodeTaskUid, PhysicalIndex, TaskUid};
use miroir_core::mark;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Lane {
    /// Sends the next batch, unless it has to wait for the end of one sent before.
    pub(super) async fn send_next(&mut self) -> Result<bool, Failure> {
        let Some(&uid) = self.pending.front() else {
            return Ok(false);
        };
        let batch = match self.kept_back.take().filter(|batch| batch.uid == uid) {
            Some(batch) => Some(batch),
            None => self.shared.owed_batch(uid, &self.node).await?,
        };
        let Some(batch) = batch else {
            // Its tasks and its record are gone: nothing of it is owed any more.
            self.pending.pop_front();
            return Ok(true);
        };
        if self
            .sent
            .iter()
            .any(|sent| must_follow_the_end_of(&sent.batch, &batch))
        {
            self.kept_back = Some(batch);
            return Ok(false);
        }
        if comes_alone(&batch) && self.has_unnoted {
            // What is not stored as ended is sent again after a crash, with all behind it.
            self.kept_back = Some(batch);
            return Ok(self.wait_until_noted().await);
        }
        let is_moot = self.is_moot(&batch);
        let parts = if is_moot {
            Vec::new()
        } else {
            self.send(&batch, None, Section::All).await?
        };
        self.pending.pop_front();
        if !parts.is_empty() {
            let node_tasks = parts.iter().map(|part| part.task).collect();
            let node = self.node.clone();
            self.emit(Event::Sent {
                node,
                batch: uid,
                node_tasks,
            });
        }
        self.sent.push_back(Sent {
            batch,
            parts,
            is_moot,
        });
        Ok(true)
    }

    /// Waits until the ends that were reported are stored; false if the engine shuts down first.
    async fn wait_until_noted(&mut self) -> bool {
        let (reply, noted) = oneshot::channel();
        self.emit(Event::Noted { reply });
        self.has_unnoted = noted.await.is_err();
        !self.has_unnoted
    }

    /// The index is removed by a later batch: in flight, or done, when its placement is gone.
    fn is_moot(&self, batch: &LiveBatch) -> bool {
        let is_gone = || {
            let removed = self.shared.removed.lock();
            let twin = batch.plan.twin.as_ref();
            let is_twin_gone =
                twin.is_none_or(|twin| batch.twin.is_empty() || removed.contains(&twin.physical));
            let is_own_gone =
                batch.replica_sets.is_empty() || removed.contains(&batch.plan.physical);
            is_own_gone && is_twin_gone
        };
        !batch.plan.work.is_removal() && is_gone() || self.is_forgiven(batch)
    }

    /// The node is made anew from the others from a later batch on.
    pub(super) fn is_forgiven(&self, batch: &LiveBatch) -> bool {
        self.shared.is_forgiven(&self.node, batch)
    }

    /// The index was removed by a batch made after this one, as the store tells.
    pub(super) async fn is_gone(&self, batch: &LiveBatch) -> Result<bool, EngineError> {
        let store = &self.shared.ports.store;
        let mut is_there = store.load_placement(&batch.plan.physical).await?.is_some();
        if let Some(twin) = &batch.plan.twin {
            is_there |= store.load_placement(&twin.physical).await?.is_some();
        }
        Ok(!is_there && !batch.plan.work.is_removal())
    }

    /// Makes the node tasks of a batch, or of one entry of it, adopting those that exist.
    pub(super) async fn send(
        &mut self,
        batch: &Arc<LiveBatch>,
        only: Option<TaskUid>,
        section: Section,
    ) -> Result<Vec<Part>, Failure> {
        let shared = self.shared.clone();
        let mut requests = Requests::new(
            &*shared.ports.payloads,
            &shared.cluster,
            batch,
            &self.node,
            only,
            section,
        );
        let mut parts = Vec::new();
        // What the node has of this batch, should the rest have to be tried again.
        let mut made: Vec<(String, (NodeTaskUid, Option<PhysicalIndex>))> = Vec::new();
        loop {
            let _permit = if batch.has_files() {
                let kib = u32::try_from(batch.plan.request_bytes_max / 1024).unwrap_or(u32::MAX);
                shared
                    .body_budget
                    .clone()
                    .acquire_many_owned(kib.max(1))
                    .await
                    .ok()
            } else {
                None
            };
            let Some(request) = requests.next().await? else {
                return Ok(parts);
            };
            let (is_joining, is_twin) = (request.is_joining, request.is_twin);
            let index = match &batch.plan.twin {
                Some(twin) if is_twin => &twin.physical,
                _ => &batch.plan.physical,
            };
            // What was put into the index before it is emptied has to be put in again.
            let is_recreation = matches!(batch.plan.work, Work::RecreateIndex { .. });
            let adopted = request
                .marker
                .as_ref()
                .and_then(|m| self.adoptable.remove(m));
            let sent_at = adopted.is_none().then(|| shared.ports.clock.now());
            let task = match adopted {
                Some((task, _)) => task,
                None => match self.submit(request.write).await {
                    Ok(task) => {
                        if request.marker.is_some() || is_recreation {
                            // What else was found of this index is older than this, and has to
                            // come behind it. That of others need not, and an edit must not be
                            // done twice.
                            self.adoptable
                                .retain(|_, (_, other)| other.as_ref() != Some(index));
                        }
                        task
                    }
                    Err(error @ NodeError::Refused { .. })
                        if features::is_missing(&error, &shared) =>
                    {
                        // Switched off behind our back: it is switched on again, and this waits.
                        shared.features.forget(&self.node);
                        self.adoptable.extend(made);
                        return Err(error.into());
                    }
                    Err(NodeError::Refused { body, .. }) => {
                        parts.push(Part {
                            task: NodeTaskUid(u64::MAX),
                            is_joining,
                            is_twin,
                            end: Some(refused(body)),
                            sent_at: None,
                        });
                        if is_joining {
                            // Another section, or nothing, comes behind.
                            continue;
                        }
                        return Ok(parts);
                    }
                    Err(error) => {
                        self.adoptable.extend(made);
                        return Err(error.into());
                    }
                },
            };
            let index = Some(index.clone());
            made.extend(request.marker.map(|marker| (marker, (task, index))));
            parts.push(Part {
                task,
                is_joining,
                is_twin,
                end: None,
                sent_at,
            });
        }
    }

    pub(super) async fn submit(&mut self, write: NodeWrite) -> Result<NodeTaskUid, NodeError> {
        let timeout = self.shared.config.node_timeout;
        self.shared.step("node.sending").await;
        let key = write.marker().map(|mark| mark::key_of(mark).to_owned());
        let nodes = self.shared.ports.nodes.clone();
        let submitted = nodes.submit(&self.node, write, timeout).await;
        if let Err(NodeError::UnknownOutcome { .. }) = &submitted {
            self.doubt = Some(Doubt::Open(key));
        }
        let task = submitted?;
        if self.newest_task.is_some_and(|newest| task <= newest) {
            // A restart so quick that no probe and no call failed.
            let cause = "it counts its tasks anew: its data is lost or is not its own".to_owned();
            if self.newest_end.is_none_or(|newest| task <= newest) {
                prober::keep_apart(&self.node, &self.shared, cause.clone());
            } else {
                // It has what it had ended, and not all it had accepted: killed before it had
                // synced that. Its contents are looked at before anything else is sent, and what
                // it lacks is sent again.
                tracing::warn!(node = %self.node, "the node forgot tasks that it had accepted");
                self.newest_task = None;
            }
            return Err(NodeError::UnknownOutcome {
                node: self.node.clone(),
                cause,
            });
        }
        self.newest_task = Some(task);
        self.shared.step("node.sent").await;
        Ok(task)
    }
}

//! The fleet as the engine meets it, with the faults that concern single calls.

use super::read::read;
use super::{Faults, Fleet, ReadFault, Task, error};
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{NodeId, NodeTaskUid};
use miroir_engine::port::{NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery, NodeWrite};
use std::time::Duration;

impl Fleet {
    /// Passes the faults that concern every call.
    async fn enter(&self, id: &NodeId) -> Result<(), NodeError> {
        let delay = self.on(id.as_str(), |node| node.faults.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.on(id.as_str(), |node| {
            node.work();
            if node.faults.is_unreachable {
                let cause = "the test says so".into();
                return Err(NodeError::Unreachable {
                    node: id.clone(),
                    cause,
                });
            }
            Ok(())
        })
    }
}

/// What the client of nodes makes of a 403.
pub(super) fn denial(node: &NodeId) -> NodeError {
    NodeError::Failed {
        node: node.clone(),
        status: 403,
        cause: "it turns Miroir's key away".into(),
    }
}

enum Accepted {
    Yes(NodeTaskUid),
    Busy,
    AnswerLost,
    Swallowed,
    Garbled,
    Full,
}

#[async_trait]
impl NodeClient for Fleet {
    async fn read(
        &self,
        node: &NodeId,
        what: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let unknown = |cause: &str| NodeError::UnknownOutcome {
            node: node.clone(),
            cause: cause.into(),
        };
        let behind = self.behind(node);
        let reading = self.read_in_time(&behind, what);
        match tokio::time::timeout(timeout, reading).await {
            Ok(result) => result,
            Err(_) => Err(unknown("it took too long")),
        }
    }

    /// Every process of the fleet has the address that [`crate::world::spec`] gives it.
    async fn read_stranger(
        &self,
        url: &str,
        what: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let host = url.strip_prefix("http://").unwrap_or(url);
        let host = host.split(':').next().unwrap_or(host);
        let name = host.strip_suffix(".invalid").unwrap_or(host);
        if !self.names().iter().any(|known| known == name) {
            return Err(NodeError::Unreachable {
                node: NodeId::new(url),
                cause: "nobody is there".into(),
            });
        }
        self.read(&NodeId::new(name), what, timeout).await
    }

    async fn submit(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        let behind = self.behind(node);
        self.submit_in_time(&behind, write, timeout).await
    }

    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        _timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let behind = self.behind(node);
        self.tasks_of(&behind, query).await
    }
}

impl Fleet {
    /// The node that a node's address leads to.
    fn behind(&self, node: &NodeId) -> NodeId {
        let leads_to = self.on(node.as_str(), |state| state.faults.leads_to.clone());
        leads_to.unwrap_or_else(|| node.clone())
    }

    async fn read_in_time(&self, node: &NodeId, what: NodeRead) -> Result<Bytes, NodeError> {
        self.enter(node).await?;
        let is_clients = matches!(
            what,
            NodeRead::Search { .. } | NodeRead::Documents { .. } | NodeRead::Document { .. }
        );
        if is_clients {
            let (fault, delay) = self.on(node.as_str(), |state| {
                state.reads_seen += 1;
                (state.faults.reads, state.faults.read_delay)
            });
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            match fault {
                ReadFault::None => {}
                ReadFault::Silence => std::future::pending().await,
                ReadFault::Reset => {
                    return Err(NodeError::UnknownOutcome {
                        node: node.clone(),
                        cause: "the connection was reset".into(),
                    });
                }
                ReadFault::Busy => return Err(NodeError::Busy { node: node.clone() }),
                ReadFault::Failure => {
                    return Err(NodeError::Failed {
                        node: node.clone(),
                        status: 500,
                        cause: "the test says so".into(),
                    });
                }
                ReadFault::Truncation => {
                    let whole = self.on(node.as_str(), |state| read(state, node, what))?;
                    return Ok(whole.slice(..whole.len() / 2));
                }
            }
        }
        self.on(node.as_str(), |state| {
            if let NodeRead::Raw { path, .. } = &what
                && path == "/snapshots"
            {
                let uid = state.take_snapshot();
                return Ok(format!("{{\"taskUid\":{uid}}}").into());
            }
            if let NodeRead::SetFeatures { body } = &what
                && !state.faults.is_denying
            {
                state.features = serde_json::from_slice(body).expect("an object");
                return Ok(body.clone());
            }
            read(state, node, what)
        })
    }

    async fn submit_in_time(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        self.enter(node).await?;
        if self.on(node.as_str(), |state| state.faults.is_denying) {
            return Err(denial(node));
        }
        let accepted = self.on(node.as_str(), |state| {
            let faults = &mut state.faults;
            if faults.is_full {
                return Accepted::Full;
            }
            if faults.spare > 0 {
                faults.spare -= 1;
            } else if faults.busy > 0 {
                faults.busy -= 1;
                return Accepted::Busy;
            } else if faults.swallowed > 0 {
                faults.swallowed -= 1;
                return Accepted::Swallowed;
            } else if faults.lost_answers > 0 {
                faults.lost_answers -= 1;
                state.accept(write);
                return Accepted::AnswerLost;
            } else if faults.garbled > 0 {
                faults.garbled -= 1;
                state.accept(write);
                return Accepted::Garbled;
            } else if faults.duplicated > 0 {
                faults.duplicated -= 1;
                state.accept(write.clone());
            }
            Accepted::Yes(state.accept(write))
        });
        let cause = "the test says so".to_owned();
        match accepted {
            Accepted::Yes(uid) => Ok(uid),
            Accepted::Busy => Err(NodeError::Busy { node: node.clone() }),
            Accepted::Garbled => Err(NodeError::Failed {
                node: node.clone(),
                status: 202,
                cause: "its answer is not understood".into(),
            }),
            Accepted::Full => {
                let message = "There is no more room for tasks.";
                Err(NodeError::Refused {
                    node: node.clone(),
                    status: 422,
                    code: "no_space_left_on_device".into(),
                    message: message.into(),
                    body: error("no_space_left_on_device", message.into()),
                })
            }
            Accepted::AnswerLost => Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause,
            }),
            Accepted::Swallowed => {
                tokio::time::sleep(timeout).await;
                Err(NodeError::UnknownOutcome {
                    node: node.clone(),
                    cause,
                })
            }
        }
    }

    async fn tasks_of(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
    ) -> Result<Vec<NodeTask>, NodeError> {
        self.enter(node).await?;
        if self.on(node.as_str(), |state| state.faults.is_denying) {
            return Err(denial(node));
        }
        let is_lost = self.on(node.as_str(), |state| {
            let is_lost = state.faults.loses_next_answer;
            if is_lost {
                state.faults = Faults::default();
            }
            is_lost
        });
        if is_lost {
            let cause = "the test says so".into();
            return Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause,
            });
        }
        Ok(self.on(node.as_str(), |state| {
            state.faults.loses_next_answer = state.faults.is_shaky && state.faults.is_holding;
            let is_asked = |task: &&Task| {
                (query.uids.is_empty() || query.uids.contains(&task.told.uid))
                    && query.from.is_none_or(|from| task.told.uid <= from)
            };
            let tasks = state.tasks.iter().rev().filter(is_asked);
            tasks
                .take(query.limit as usize)
                .map(|task| task.told.clone())
                .collect()
        }))
    }
}

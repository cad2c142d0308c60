//! Everything between the engine and the nodes, and the nodes' processes: delay, loss, duplication,
//! late arrival, partition in either direction, busy and dead nodes.
//!
//! Nodes are seen only through calls, so a letter that is late lies in the mail until the next call
//! that reaches its node, and is put before it.

use crate::dice::Dice;
use crate::history::History;
use crate::node::Fleet;
use crate::time::{CrashPoint, SimTime};
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{NodeId, NodeTaskUid};
use miroir_engine::port::{NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery, NodeWrite};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A connection to a node that is cut off fails after this, at the latest.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// How a node and the way to it are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// The process does not run.
    pub is_dead: bool,
    /// Nothing passes, in no direction.
    pub is_cut: bool,
    /// Connections open, and nothing that is said on them arrives.
    pub is_deaf: bool,
    /// What is asked arrives, no answer comes back.
    pub is_mute: bool,
    /// Calls are lost in so many of a hundred cases, half of them on the way back.
    pub loss: u64,
    /// Writes arrive twice in so many of a hundred cases.
    pub twice: u64,
    /// Calls take up to so many milliseconds longer, each way.
    pub slow_ms: u64,
    /// Writes are refused for now in so many of a hundred cases.
    pub busy: u64,
}

/// What a process has sent arrives at most so long after it was given up, or its process was killed.
const LATE_MAX: Duration = Duration::from_millis(2_500);

struct Letter {
    due: Duration,
    node: NodeId,
    write: NodeWrite,
}

/// The way of one call.
struct Trip {
    there: Duration,
    back: Duration,
    is_lost_there: bool,
    is_lost_back: bool,
    is_twice: bool,
    is_busy: bool,
}

/// The port to the nodes.
pub struct Network {
    fleet: Arc<Fleet>,
    time: Arc<SimTime>,
    crash: Arc<CrashPoint>,
    history: Arc<History>,
    dice: Mutex<Dice>,
    conditions: Mutex<BTreeMap<NodeId, Condition>>,
    mail: Mutex<Vec<Letter>>,
}

impl Network {
    /// All nodes well.
    #[must_use]
    pub fn new(
        fleet: Arc<Fleet>,
        time: Arc<SimTime>,
        crash: Arc<CrashPoint>,
        history: Arc<History>,
        dice: Dice,
    ) -> Self {
        Self {
            fleet,
            time,
            crash,
            history,
            dice: Mutex::new(dice),
            conditions: Mutex::default(),
            mail: Mutex::default(),
        }
    }

    /// Changes how a node is.
    pub fn set(&self, node: &str, change: impl FnOnce(&mut Condition)) {
        change(self.conditions.lock().entry(NodeId::new(node)).or_default());
    }

    /// How a node is.
    #[must_use]
    pub fn condition(&self, node: &NodeId) -> Condition {
        self.conditions
            .lock()
            .get(node)
            .cloned()
            .unwrap_or_default()
    }

    /// Everything is well from now on, and nothing is on its way any more.
    pub fn heal(&self) {
        self.conditions.lock().clear();
        self.deliver_mail(None);
    }

    /// All is well with every node.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let conditions = self.conditions.lock();
        conditions
            .values()
            .all(|condition| *condition == Condition::default())
    }

    /// The process that sent what is on its way is dead: its connections are closed.
    pub fn abandon(&self) {
        let last = self.time.now() + LATE_MAX;
        for letter in self.mail.lock().iter_mut() {
            letter.due = letter.due.min(last);
        }
    }

    fn draw(&self, node: &NodeId, is_write: bool) -> Trip {
        let condition = self.condition(node);
        let mut dice = self.dice.lock();
        let mut way = || {
            let slow = dice.below(condition.slow_ms);
            dice.millis(0, 4) + Duration::from_millis(slow)
        };
        let (there, back) = (way(), way());
        let is_lost = dice.chance(condition.loss);
        let is_lost_there = is_lost && dice.chance(50);
        Trip {
            there,
            back,
            is_lost_there,
            is_lost_back: is_lost && !is_lost_there,
            is_twice: is_write && dice.chance(condition.twice),
            is_busy: is_write && dice.chance(condition.busy),
        }
    }

    /// Late letters arrive: those that are due, or all of them.
    fn deliver_mail(&self, due: Option<Duration>) {
        let mut mail = self.mail.lock();
        let is_due = |letter: &Letter| due.is_none_or(|now| letter.due <= now);
        let mut arrived: Vec<Letter> = Vec::new();
        let mut idx = 0;
        while idx < mail.len() {
            if is_due(&mail[idx]) {
                arrived.push(mail.remove(idx));
            } else {
                idx += 1;
            }
        }
        arrived.sort_by_key(|letter| letter.due);
        for letter in arrived {
            if self.condition(&letter.node).is_dead {
                continue;
            }
            self.history.note(self.time.now(), || {
                format!("{} gets late {:?}", letter.node, brief(&letter.write))
            });
            self.fleet.on(letter.node.as_str(), |node| {
                node.work_until(letter.due);
                node.accept(letter.write);
            });
        }
    }

    /// Carries one call to a node and its answer back.
    async fn carry<T>(
        &self,
        node: &NodeId,
        timeout: Duration,
        write: Option<&NodeWrite>,
        exchange: impl Future<Output = Result<T, NodeError>> + Send,
    ) -> Result<T, NodeError> {
        self.crash.cross().await;
        let started = self.time.now();
        let trip = self.draw(node, write.is_some());
        let result = self
            .travel(node, started, timeout, &trip, write, exchange)
            .await;
        if let Some(write) = write {
            let text = |result: &Result<T, NodeError>| match result {
                Ok(_) => "done".to_owned(),
                Err(error) => error.to_string(),
            };
            self.history.note(self.time.now(), || {
                format!("{node} {}: {}", brief(write), text(&result))
            });
        }
        self.crash.cross().await;
        result
    }

    async fn travel<T>(
        &self,
        node: &NodeId,
        started: Duration,
        timeout: Duration,
        trip: &Trip,
        write: Option<&NodeWrite>,
        exchange: impl Future<Output = Result<T, NodeError>> + Send,
    ) -> Result<T, NodeError> {
        let left = || (started + timeout).saturating_sub(self.time.now());
        let silence = || async {
            tokio::time::sleep(left()).await;
            Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause: "no answer in time".into(),
            })
        };
        let unreachable = |cause: &str| {
            Err(NodeError::Unreachable {
                node: node.clone(),
                cause: cause.into(),
            })
        };
        if trip.there >= timeout {
            if let Some(write) = write {
                self.mail.lock().push(Letter {
                    due: started + trip.there.min(timeout + LATE_MAX),
                    node: node.clone(),
                    write: write.clone(),
                });
            }
            return silence().await;
        }
        tokio::time::sleep(trip.there).await;
        let condition = self.condition(node);
        if condition.is_dead {
            return unreachable("connection refused");
        }
        if condition.is_cut {
            tokio::time::sleep(left().min(CONNECT_TIMEOUT)).await;
            return unreachable("no route");
        }
        if condition.is_deaf || trip.is_lost_there {
            return silence().await;
        }
        let now = self.time.now();
        self.deliver_mail(Some(now));
        self.fleet.on(node.as_str(), |node| node.work_until(now));
        if trip.is_busy {
            return Err(NodeError::Busy { node: node.clone() });
        }
        if trip.is_twice
            && let Some(write) = write
            && !matches!(write, NodeWrite::EditDocuments { .. })
        {
            // Nobody can tell a second edition from the first; what makes requests twice must not
            // do it with those.
            self.fleet
                .on(node.as_str(), |node| node.accept(write.clone()));
        }
        let result = exchange.await;
        let condition = self.condition(node);
        if condition.is_mute || trip.is_lost_back || trip.back >= left() {
            return silence().await;
        }
        tokio::time::sleep(trip.back).await;
        if self.condition(node).is_dead {
            return Err(NodeError::UnknownOutcome {
                node: node.clone(),
                cause: "connection reset".into(),
            });
        }
        result
    }
}

/// A write in a few words.
fn brief(write: &NodeWrite) -> String {
    match write {
        NodeWrite::AddDocuments {
            index,
            marker,
            body,
            method,
            ..
        } => {
            let body = body.concat();
            let text = String::from_utf8_lossy(&body);
            let text: Vec<&str> = text
                .lines()
                .map(|l| l.split(",\"_miroir").next().unwrap_or(l))
                .collect();
            format!("{method:?} {index} {marker} {}", text.join(" "))
        }
        NodeWrite::DeleteDocuments {
            index,
            marker,
            body,
        } => format!("delete {index} {marker} {}", String::from_utf8_lossy(body)),
        NodeWrite::DeleteByFilter {
            index,
            marker,
            body,
        } => format!("delete {index} {marker} {}", String::from_utf8_lossy(body)),
        NodeWrite::EditDocuments { index, marker, .. } => format!("edit {index} {marker}"),
        NodeWrite::DeleteAllDocuments { index, marker } => format!("clear {index} {marker}"),
        NodeWrite::CreateIndex { index, .. } => format!("create {index}"),
        NodeWrite::DeleteIndex { index } => format!("drop {index}"),
        NodeWrite::UpdateIndex { index, .. } => format!("update {index}"),
        NodeWrite::UpdateSettings { index, .. } => format!("settings {index}"),
        NodeWrite::CompactIndex { index } => format!("compact {index}"),
    }
}

#[async_trait]
impl NodeClient for Network {
    async fn read(
        &self,
        node: &NodeId,
        what: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let exchange = self.fleet.read(node, what, timeout);
        self.carry(node, timeout, None, exchange).await
    }

    async fn submit(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        let exchange = self.fleet.submit(node, write.clone(), timeout);
        self.carry(node, timeout, Some(&write), exchange).await
    }

    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        let exchange = self.fleet.fetch_tasks(node, query, timeout);
        self.carry(node, timeout, None, exchange).await
    }
}

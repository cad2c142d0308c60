//! The dispatcher's part in movements: it alone knows the order of batches, so it alone says from
//! which batch on a node is written to, and when it may be read.

use super::{After, Group, Header, Step, group_change, groups_of, header_change};
use crate::copy::barrier::{Answer, Served};
use crate::dispatcher::Dispatcher;
use crate::port::Change;
use crate::state::NodeSpec;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::MovementState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is asked of the dispatcher. Those with a number and a revision speak of the current group as
/// it was then.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Begin a movement.
    Start(Vec<ShardMove>),
    /// Let it stand still, go on, or be taken back.
    Steer(MovementState),
    /// Readers are to know of the targets.
    Announce(u64, Group),
    /// The targets are to be written to.
    Join(u64, Group),
    /// The group stands as given; nothing of the order changes.
    Note(u64, Group),
    /// Readers are to use the targets.
    Switch(u64, Group),
    /// What was copied is to be removed.
    Withdraw(u64, Group, After),
    /// What lies beside is to be removed.
    Drop(u64, Group),
    /// The index is at rest, and these nodes have all of it.
    Settle(u64, Group, Vec<NodeId>),
    /// What was removed is to be forgotten.
    Clear(u64, Group),
    /// What lies beside and is no group's any more is to be forgotten, once it is removed.
    Sweep(PhysicalIndex),
    /// Take nodes into the cluster.
    Admit(Vec<NodeSpec>),
    /// Change what is said of nodes.
    Update(Vec<NodeSpec>),
    /// Take nodes out of the cluster.
    Retire(Vec<NodeId>),
    /// These nodes get no shards of new indexes.
    Close(BTreeSet<NodeId>),
    /// These shards of an index, which only lost nodes held, begin anew on others.
    BeginAnew {
        index: PhysicalIndex,
        sets: BTreeMap<ShardId, Vec<NodeId>>,
        given_up: Arc<BTreeSet<NodeId>>,
    },
    /// Remove from a node what no placement puts there: these shards of an index, or all of it.
    DropOrphan {
        node: NodeId,
        index: PhysicalIndex,
        shards: Option<Vec<ShardId>>,
    },
}

impl Turn {
    /// The index that must be at rest.
    pub(crate) fn index(&self) -> Option<&PhysicalIndex> {
        match self {
            Self::Join(_, group) | Self::Switch(_, group) | Self::Settle(_, group, _) => {
                Some(&group.index)
            }
            Self::BeginAnew { index, .. } => Some(index),
            _ => None,
        }
    }
}

pub(super) fn failed(cause: impl Into<String>) -> Served {
    Ok(Some(Answer::Failed(cause.into())))
}

impl Dispatcher {
    /// Takes one step of a movement.
    pub(crate) async fn turn_movement(&mut self, turn: &Turn) -> Served {
        match turn {
            Turn::Start(moves) => self.start_movement(moves).await,
            Turn::Steer(state) => self.steer(*state).await,
            Turn::Admit(specs) => self.admit(specs).await,
            Turn::Update(specs) => self.update_nodes(specs).await,
            Turn::Retire(nodes) => self.retire(nodes).await,
            Turn::Close(nodes) => self.close(nodes).await,
            Turn::Sweep(index) => self.sweep_beside(index).await,
            Turn::BeginAnew {
                index,
                sets,
                given_up,
            } => self.begin_anew(index, sets, given_up).await,
            Turn::DropOrphan {
                node,
                index,
                shards,
            } => self.drop_orphan(node, index, shards.as_deref()).await,
            Turn::Announce(number, group)
            | Turn::Join(number, group)
            | Turn::Note(number, group)
            | Turn::Switch(number, group)
            | Turn::Withdraw(number, group, _)
            | Turn::Drop(number, group)
            | Turn::Settle(number, group, _)
            | Turn::Clear(number, group) => {
                let known = group.revision - u64::from(matches!(turn, Turn::Note(..)));
                if !self.shared.movement.is_at(*number, known) {
                    return Ok(Some(Answer::Gone));
                }
                if self.planned(&group.index).is_none() {
                    return self.end(*number, group, true, Vec::new()).await;
                }
                match turn {
                    Turn::Announce(..) => self.announce(*number, group).await,
                    Turn::Join(..) => self.join(*number, group).await,
                    Turn::Switch(..) => self.switch(*number, group).await,
                    Turn::Withdraw(_, _, then) => self.withdraw(*number, group, *then).await,
                    Turn::Drop(..) => self.drop_beside(*number, group).await,
                    Turn::Settle(_, _, nodes) => {
                        let is_level = self.are_level(&group.index, nodes).await?;
                        Ok(is_level.then_some(Answer::Done))
                    }
                    Turn::Clear(..) => self.clear(*number, group).await,
                    _ => self.note(*number, group.clone()).await,
                }
            }
        }
    }

    // -----------------------------------------------------------------------------------------
    // The movement as a whole

    async fn start_movement(&mut self, moves: &[ShardMove]) -> Served {
        if let Some(header) = self.shared.movement.header()
            && !header.state.is_final()
        {
            let text = format!("movement {} is under way", header.id);
            return Ok(Some(Answer::Refused(text)));
        }
        if let Some(reshard) = self.shared.reshards.cutting()
            && !moves.is_empty()
        {
            let text = format!(
                "index `{0}` is being re-sharded: shards move when searches use its new shards, or it \
                 is cancelled (miroir index reshard {0})",
                reshard.index_uid
            );
            return Ok(Some(Answer::Refused(text)));
        }
        if let Err(text) = self.check_moves(moves) {
            return Ok(Some(Answer::Refused(text)));
        }
        let before = self.shared.movement.header();
        let groups = groups_of(moves);
        let header = Header {
            id: before.map_or(1, |header| header.id + 1),
            state: match groups.is_empty() {
                true => MovementState::Done,
                false => MovementState::Running,
            },
            groups: groups.len() as u64,
            current: 0,
        };
        let mut changes = vec![header_change(&header)];
        let stored = (0..).zip(&groups);
        changes.extend(stored.map(|(number, group)| group_change(number, group)));
        self.commit(&changes).await?;
        self.shared.step("move.started").await;
        tracing::info!(id = header.id, moves = moves.len(), "shards begin to move");
        let id = header.id;
        self.shared.movement.begin(header, groups);
        Ok(Some(Answer::Started(id)))
    }

    /// What is wrong with a list of moves, now.
    fn check_moves(&self, moves: &[ShardMove]) -> Result<(), String> {
        let snapshot = self.shared.snapshot.load();
        let mut named = BTreeSet::new();
        for ShardMove {
            index,
            shard,
            from,
            to,
        } in moves
        {
            let name = format!("shard {shard} of {index}");
            if !named.insert((index, shard)) {
                return Err(format!("{name} is named twice"));
            }
            let Some(planned) = self.planned(index) else {
                return Err(format!("index {index} does not exist"));
            };
            let Some(set) = planned.placing.replica_sets.get(shard.0 as usize) else {
                return Err(format!("{name} does not exist"));
            };
            if set != from {
                let listed: Vec<&str> = set.iter().map(NodeId::as_str).collect();
                let listed = listed.join(", ");
                return Err(format!(
                    "{name} is no longer where the plan found it: {listed}"
                ));
            }
            if to.is_empty() {
                return Err(format!("{name} would be nowhere"));
            }
            if to.iter().collect::<BTreeSet<_>>().len() != to.len() {
                return Err(format!("{name} would be on a node twice"));
            }
            let unknown = to.iter().find(|node| !snapshot.nodes.contains_key(*node));
            if let Some(node) = unknown {
                return Err(format!("{name} would go to {node}, which is no node"));
            }
        }
        Ok(())
    }

    async fn steer(&mut self, state: MovementState) -> Served {
        let Some(mut header) = self.shared.movement.header() else {
            return Ok(Some(Answer::Refused("no movement is under way".into())));
        };
        let is_allowed = match state {
            MovementState::Paused => header.state == MovementState::Running,
            MovementState::Running => header.state == MovementState::Paused,
            MovementState::Cancelling => {
                matches!(header.state, MovementState::Running | MovementState::Paused)
            }
            MovementState::Done | MovementState::Cancelled => false,
        };
        if header.state == state {
            return Ok(Some(Answer::Done));
        }
        if !is_allowed {
            let text = format!("movement {} is {}", header.id, header.state.as_str());
            return Ok(Some(Answer::Refused(text)));
        }
        header.state = state;
        self.commit(&[header_change(&header)]).await?;
        self.shared.step("move.steered").await;
        self.shared.movement.put_header(header);
        Ok(Some(Answer::Done))
    }

    /// The group is over, and the next has its turn.
    pub(super) async fn end(
        &mut self,
        number: u64,
        group: &Group,
        is_cancelled: bool,
        mut changes: Vec<Change>,
    ) -> Served {
        let Some(mut header) = self.shared.movement.header() else {
            return Ok(Some(Answer::Gone));
        };
        let lists = group.lists();
        let group = group.at(Step::Ended { is_cancelled });
        header.current = number + 1;
        let is_last = header.current >= header.groups;
        header.state = match header.state {
            MovementState::Cancelling => MovementState::Cancelled,
            _ if is_last => MovementState::Done,
            state => state,
        };
        changes.push(group_change(number, &group));
        changes.push(header_change(&header));
        self.commit(&changes).await?;
        self.shared.step("move.ended").await;
        if header.state.is_final() {
            tracing::info!(
                id = header.id,
                state = header.state.as_str(),
                "shards move no more"
            );
        }
        self.shared.movement.put(number, group);
        self.shared.movement.put_header(header);
        self.shared.discard(&lists).await;
        Ok(Some(Answer::Done))
    }

    pub(super) async fn note(&mut self, number: u64, group: Group) -> Served {
        self.commit(&[group_change(number, &group)]).await?;
        self.shared.step("move.noted").await;
        self.shared.movement.put(number, group);
        Ok(Some(Answer::Done))
    }
}

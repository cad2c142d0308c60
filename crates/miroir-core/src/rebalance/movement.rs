//! How a movement stands: what its execution tells operators, as values.
//!
//! ```text
//! waiting ──► joining ──► copying ──► verifying ──► switching ──► dropping ──► done
//!                └───────────┴─────────────┴── cancel ──► cancelling ──────────► cancelled
//! ```
//! A move that only drops replicas passes from waiting to switching. After the switch a move is no
//! longer undone: it is carried to its end, and a cancelation concerns the others.

use super::ShardMove;
use serde::{Deserialize, Serialize};

/// How far one move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MoveState {
    /// Its turn has not come.
    Waiting,
    /// Its targets begin to be written to.
    Joining,
    /// Documents are copied.
    Copying,
    /// Source and targets are compared.
    Verifying,
    /// Readers are shown the targets.
    Switching,
    /// What left is removed from the nodes it left.
    Dropping,
    /// All of it is done.
    Done,
    /// What was copied is removed again.
    Cancelling,
    /// It was taken back.
    Cancelled,
}

impl MoveState {
    /// The word for it, as the admin API shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Joining => "joining",
            Self::Copying => "copying",
            Self::Verifying => "verifying",
            Self::Switching => "switching",
            Self::Dropping => "dropping",
            Self::Done => "done",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing more will happen to it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// How a whole movement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MovementState {
    /// It goes on.
    Running,
    /// It stands still until resumed. What was begun stays as it is.
    Paused,
    /// What is not switched yet is taken back.
    Cancelling,
    /// All moves are done.
    Done,
    /// It was cancelled and what was begun is cleaned up.
    Cancelled,
}

impl MovementState {
    /// The word for it, as the admin API shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Another movement may begin.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// One move and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveStatus {
    /// The move.
    pub shard_move: ShardMove,
    /// How far it is.
    pub state: MoveState,
    /// Documents copied, over all targets.
    pub documents: u64,
    /// Bytes copied, over all targets.
    pub bytes: u64,
}

/// Why nothing happens at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovementWait {
    /// What it waits for, in few words: `node c`, `index movies__0`.
    pub what: String,
    /// Why, as a sentence's fragment.
    pub why: String,
}

/// A movement and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovementStatus {
    /// Its number; a later movement has a greater one.
    pub id: u64,
    /// How it stands.
    pub state: MovementState,
    /// Every move, in the order given.
    pub moves: Vec<MoveStatus>,
    /// Moves that are done or taken back.
    pub moves_done: u64,
    /// All moves.
    pub moves_total: u64,
    /// Documents copied.
    pub documents: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes copied in a second, over what this process copied of it; `None` before the first.
    pub bytes_per_second: Option<u64>,
    /// Seconds that it will take at the pace so far; `None` while that cannot be told.
    pub remaining_seconds: Option<u64>,
    /// What it waits for, if it does.
    pub waits_for: Option<MovementWait>,
}

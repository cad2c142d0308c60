//! What operators ask of movements.

use super::turn::Turn;
use crate::copy::barrier::{Answer, Ask};
use crate::copy::copier::HOLD_MAX;
use crate::engine::Engine;
use crate::error::EngineError;
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::{MovementState, MovementStatus};

/// A refusal, in Meilisearch's form.
pub(crate) fn refused(message: impl Into<String>) -> EngineError {
    EngineError::Client {
        code: "bad_request",
        message: message.into(),
    }
}

impl Engine {
    /// Begins to move shards, in the order given; returns the movement's number once it is stored.
    ///
    /// # Errors
    /// [`EngineError::Client`] while another movement is under way, and for a move that cannot be: it
    /// names the first whose shard is no longer where the plan found it, is named twice, or would go
    /// to what is no node. Otherwise the store failed.
    pub async fn start_movement(&self, moves: Vec<ShardMove>) -> Result<u64, EngineError> {
        match self.ask_dispatcher(Turn::Start(moves)).await? {
            Answer::Started(id) => Ok(id),
            _ => Err(EngineError::ShuttingDown),
        }
    }

    /// Lets the movement stand still: nothing further is begun or copied. What was switched is
    /// carried to its end.
    ///
    /// # Errors
    /// [`EngineError::Client`] if none is running.
    pub async fn pause_movement(&self) -> Result<(), EngineError> {
        self.steer(MovementState::Paused).await
    }

    /// Lets a movement that stands still go on.
    ///
    /// # Errors
    /// [`EngineError::Client`] if none stands still.
    pub async fn resume_movement(&self) -> Result<(), EngineError> {
        self.steer(MovementState::Running).await
    }

    /// Takes back what is not switched yet; what was copied of it is removed.
    ///
    /// # Errors
    /// [`EngineError::Client`] if no movement is under way.
    pub async fn cancel_movement(&self) -> Result<(), EngineError> {
        self.steer(MovementState::Cancelling).await
    }

    /// The movement under way, or the last one.
    #[must_use]
    pub fn movement(&self) -> Option<MovementStatus> {
        self.shared().movement.status()
    }

    async fn steer(&self, state: MovementState) -> Result<(), EngineError> {
        if self.shared().movement.header().is_none() {
            return Err(refused("no movement is under way"));
        }
        self.ask_dispatcher(Turn::Steer(state)).await.map(drop)
    }

    pub(crate) async fn ask_dispatcher(&self, turn: Turn) -> Result<Answer, EngineError> {
        let shared = self.shared();
        let answer = shared.copy.ask(shared, Ask::Move(turn), HOLD_MAX).await;
        match answer {
            Answer::Refused(text) | Answer::Failed(text) => Err(refused(text)),
            Answer::Busy => Err(EngineError::ShuttingDown),
            answer => Ok(answer),
        }
    }
}

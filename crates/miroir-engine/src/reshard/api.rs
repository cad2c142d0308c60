//! What operators ask of re-shards.

use super::turn::{Steering, Turn};
use super::{After, Reshard, Seen, Step};
use crate::copy::barrier::{Answer, Ask};
use crate::copy::copier::HOLD_MAX;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::movement::refused;
use miroir_api::admin;
use miroir_core::id::IndexUid;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

impl Engine {
    /// Begins to cut an index into another number of shards; returns the re-shard's number once it is
    /// stored. The way back is kept for `keep` after readers were switched.
    ///
    /// # Errors
    /// [`EngineError::Client`] with the reason if it cannot begin; otherwise the store failed.
    pub async fn reshard(
        &self,
        index: &IndexUid,
        shard_count: u32,
        keep: Duration,
    ) -> Result<u64, EngineError> {
        let turn = Turn::Start {
            uid: index.clone(),
            shard_count,
            keep_seconds: keep.as_secs(),
        };
        match self.ask_reshard(turn).await? {
            Answer::Started(id) => Ok(id),
            _ => Err(EngineError::ShuttingDown),
        }
    }

    /// Does with the re-shard of an index as the operator says: `pause`, `resume`, `cancel` (before
    /// readers were switched), `back` (switch them back) or `drop` (let the way back go).
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], or [`EngineError::Client`] if the index has none, or it does not
    /// stand so, or there is no such word.
    pub async fn steer_reshard(&self, index: &IndexUid, word: &str) -> Result<(), EngineError> {
        let steering = match word {
            "pause" => Steering::Pause,
            "resume" => Steering::Resume,
            "cancel" => Steering::Cancel,
            "back" => Steering::Back,
            "drop" => Steering::Drop,
            other => {
                let text = format!(
                    "`{other}` is nothing that a re-shard does: pause, resume, cancel, back or drop."
                );
                return Err(refused(text));
            }
        };
        let physical = {
            let snapshot = self.shared().snapshot.load();
            snapshot.index(index)?.record.physical.clone()
        };
        if self.shared().reshards.of(&physical).is_none() {
            let text = format!("Index `{index}` is not being re-sharded.");
            return Err(refused(text));
        }
        let turn = Turn::Steer(index.clone(), steering);
        self.ask_reshard(turn).await.map(drop)
    }

    /// All re-shards under way, those whose way back is kept, and the last that ended; oldest first.
    #[must_use]
    pub fn reshards(&self) -> Vec<admin::Reshard> {
        let shared = self.shared();
        let names: Vec<(String, IndexUid)> = {
            let snapshot = shared.snapshot.load();
            let entries = snapshot.indexes.iter();
            entries
                .map(|(uid, entry)| (entry.record.physical.to_string(), uid.clone()))
                .collect()
        };
        let all = shared.reshards.all().into_iter();
        all.map(|reshard| {
            let main = reshard.main().as_str();
            let name = names.iter().find(|(physical, _)| physical == main);
            let seen = shared.reshards.seen.lock();
            show(&reshard, name.map(|(_, uid)| uid), seen.get(&reshard.id))
        })
        .collect()
    }

    async fn ask_reshard(&self, turn: Turn) -> Result<Answer, EngineError> {
        let shared = self.shared();
        let answer = shared.copy.ask(shared, Ask::Reshard(turn), HOLD_MAX).await;
        match answer {
            Answer::Refused(text) | Answer::Failed(text) => Err(refused(text)),
            Answer::Busy => Err(EngineError::ShuttingDown),
            answer => Ok(answer),
        }
    }
}

fn moment(seconds: i64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    moment.format(&Rfc3339).ok()
}

/// How it stands, in words.
fn state(reshard: &Reshard, seen: Option<&Seen>) -> &'static str {
    let is_returning = reshard.is_switched_before();
    match reshard.step {
        Step::Waiting | Step::Copying if reshard.is_paused => "paused",
        Step::Waiting => "waiting",
        Step::Copying if seen.is_some_and(|seen| seen.is_verifying) => "verifying",
        Step::Copying if is_returning && reshard.shards.is_empty() => "verifying",
        Step::Copying => "copying",
        Step::Kept => "wayBackKept",
        Step::Leaving { .. } | Step::Dropping { .. } => "removing",
        Step::Ended { how } => match how {
            After::Done | After::Again => "done",
            After::Cancelled => "cancelled",
            After::Lost => "wayBackLost",
        },
    }
}

fn show(reshard: &Reshard, name: Option<&IndexUid>, seen: Option<&Seen>) -> admin::Reshard {
    let rate = seen.and_then(|seen| seen.copied);
    let rate = rate.map(|(since, until, documents, bytes)| {
        let millis = u64::try_from(until.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        let per_second = |amount: u64| amount.saturating_mul(1000).checked_div(millis);
        (per_second(documents), per_second(bytes))
    });
    let (documents_rate, bytes_rate) = rate.unwrap_or((None, None));
    let is_copying = reshard.step == Step::Copying && !reshard.shards.is_empty();
    let left = reshard.documents_total.saturating_sub(reshard.documents);
    let remaining = documents_rate.and_then(|rate| left.checked_div(rate));
    let until = reshard.switched_at.filter(|_| reshard.step == Step::Kept);
    let until = until.and_then(|since| {
        let keep = i64::try_from(reshard.keep_seconds).ok()?;
        moment(since.checked_add(keep)?)
    });
    let is_open = !reshard.is_over();
    admin::Reshard {
        id: reshard.id,
        index_uid: name.map_or_else(|| reshard.index_uid.clone(), ToString::to_string),
        from_shards: reshard.source_shards,
        to_shards: reshard.target_shards,
        shards: match reshard.is_switched {
            true => reshard.target_shards,
            false => reshard.source_shards,
        },
        state: state(reshard, seen).into(),
        documents: reshard.documents,
        documents_total: reshard.documents_total,
        bytes: reshard.bytes,
        bytes_per_second: bytes_rate,
        remaining_seconds: remaining.filter(|_| is_copying),
        waits_for: seen
            .and_then(|seen| seen.waits_for.clone())
            .filter(|_| is_open),
        started_at: moment(reshard.started_at).unwrap_or_default(),
        switched_at: reshard.switched_at.and_then(moment),
        way_back_until: until,
    }
}

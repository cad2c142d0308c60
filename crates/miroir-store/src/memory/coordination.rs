//! What proxies share, in memory.

use super::{MemoryStore, State};
use crate::rules;
use async_trait::async_trait;
use miroir_core::id::IndexUid;
use miroir_engine::coordination::{
    ALIAS_HISTORY_MAX, AliasChange, AliasRecord, AliasTarget, Aliases, ApiKeyRecord, ApiKeys,
    Idempotency, IdempotencyKey, IdempotencyRecord, InstanceSettings, JobEnd, JobRecord, Jobs,
    LeaderLease, Lease, LeaseEpoch, LeaseOutcome, MoveRecord, Moves, NewJob, OnceOutcome,
    SessionRecord, Sessions, WebhookRecord,
};
use miroir_engine::port::{NewEntry, StoreError, Timestamp};
use std::collections::BTreeMap;
use uuid::Uuid;

#[async_trait]
impl LeaderLease for MemoryStore {
    async fn acquire_lease(
        &self,
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        self.write(|state| {
            let current = state.lease.get(&()).cloned();
            let outcome = rules::acquire_lease(current, holder, now, expires_at);
            if let LeaseOutcome::Held(lease) = &outcome {
                state.lease.put((), lease.clone());
            }
            Ok(outcome)
        })
    }

    async fn renew_lease(
        &self,
        holder: &str,
        epoch: LeaseEpoch,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Lease, StoreError> {
        self.write(|state| {
            let current = state.lease.get(&()).cloned();
            let lease = rules::renew_lease(current, holder, epoch, now, expires_at)?;
            state.lease.put((), lease.clone());
            Ok(lease)
        })
    }

    async fn release_lease(&self, holder: &str, epoch: LeaseEpoch) -> Result<(), StoreError> {
        self.write(|state| {
            let current = state.lease.get(&()).cloned();
            if let Some(lease) = rules::release_lease(current, holder, epoch) {
                state.lease.put((), lease);
            }
            Ok(())
        })
    }

    async fn load_lease(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.read(|state| state.lease.get(&()).cloned()))
    }
}

impl State {
    fn job(&self, id: &str) -> Result<JobRecord, StoreError> {
        self.jobs
            .get(&id.to_owned())
            .cloned()
            .ok_or_else(|| rules::missing("job", id))
    }

    fn put_job(&mut self, job: JobRecord) -> JobRecord {
        self.jobs.put(job.id.clone(), job.clone());
        job
    }

    /// All jobs, oldest first.
    fn sorted_jobs(&self) -> Vec<JobRecord> {
        let mut jobs: Vec<JobRecord> = self.jobs.rows().values().cloned().collect();
        // A stable sort: equal moments stay in the order of ids.
        jobs.sort_by_key(|job| job.created_at);
        jobs
    }

    fn alias_latest(&self, name: &IndexUid) -> Option<&AliasChange> {
        let range = (name.clone(), 0)..=(name.clone(), u64::MAX);
        self.alias_history
            .rows()
            .range(range)
            .next_back()
            .map(|(_, change)| change)
    }

    fn note_alias(&mut self, name: &IndexUid, change: AliasChange) {
        let oldest = change.version.saturating_sub(ALIAS_HISTORY_MAX as u64);
        self.alias_history.take(&(name.clone(), oldest));
        self.alias_history
            .put((name.clone(), change.version), change);
    }

    fn live_idempotency(&self, key: &str, now: Timestamp) -> Option<IdempotencyRecord> {
        let record = self.idempotency.get(&key.to_owned())?;
        (now < record.key.expires_at).then(|| record.clone())
    }

    fn note_idempotency(&mut self, record: IdempotencyRecord) -> OnceOutcome {
        self.idempotency.put(record.key.key.clone(), record.clone());
        OnceOutcome::First(record)
    }
}

#[async_trait]
impl Jobs for MemoryStore {
    async fn add_job(&self, job: NewJob, now: Timestamp) -> Result<JobRecord, StoreError> {
        self.write(|state| {
            if state.jobs.get(&job.id).is_some() {
                return Err(StoreError::Conflict(format!("there is a job `{}`", job.id)));
            }
            Ok(state.put_job(rules::new_job(job, now)))
        })
    }

    async fn load_job(&self, id: &str) -> Result<Option<JobRecord>, StoreError> {
        Ok(self.read(|state| state.jobs.get(&id.to_owned()).cloned()))
    }

    async fn load_jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        Ok(self.read(State::sorted_jobs))
    }

    async fn claim_job(
        &self,
        kinds: &[&str],
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<JobRecord>, StoreError> {
        self.write(|state| {
            let job = state
                .sorted_jobs()
                .into_iter()
                .find(|job| kinds.contains(&job.kind.as_str()) && rules::is_claimable(job, now));
            Ok(job.map(|job| state.put_job(rules::claim_job(job, holder, now, expires_at))))
        })
    }

    async fn renew_job(
        &self,
        id: &str,
        holder: &str,
        progress: serde_json::Value,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<JobRecord, StoreError> {
        self.write(|state| {
            let job = rules::renew_job(state.job(id)?, holder, progress, now, expires_at)?;
            Ok(state.put_job(job))
        })
    }

    async fn finish_job(
        &self,
        id: &str,
        holder: &str,
        end: JobEnd,
        now: Timestamp,
    ) -> Result<JobRecord, StoreError> {
        self.write(|state| {
            let job = rules::finish_job(state.job(id)?, holder, end, now)?;
            Ok(state.put_job(job))
        })
    }

    async fn cancel_job(&self, id: &str, now: Timestamp) -> Result<JobRecord, StoreError> {
        self.write(|state| {
            let job = rules::cancel_job(state.job(id)?, now);
            Ok(state.put_job(job))
        })
    }

    async fn remove_job(&self, id: &str) -> Result<(), StoreError> {
        self.write(|state| match state.jobs.take(&id.to_owned()) {
            Some(job) => rules::check_removable(&job),
            None => Ok(()),
        })
    }
}

#[async_trait]
impl Moves for MemoryStore {
    async fn put_move(&self, record: MoveRecord) -> Result<(), StoreError> {
        self.write(|state| {
            state.moves.put(record.id.clone(), record);
            Ok(())
        })
    }

    async fn load_moves(&self) -> Result<Vec<MoveRecord>, StoreError> {
        Ok(self.read(|state| state.moves.rows().values().cloned().collect()))
    }

    async fn remove_move(&self, id: &str) -> Result<(), StoreError> {
        self.write(|state| {
            state.moves.take(&id.to_owned());
            Ok(())
        })
    }
}

#[async_trait]
impl Sessions for MemoryStore {
    async fn put_session(
        &self,
        record: SessionRecord,
        now: Timestamp,
    ) -> Result<SessionRecord, StoreError> {
        self.write(|state| {
            let old = state.sessions.get(&record.id).cloned();
            let session = rules::merge_session(old, record, now);
            state.sessions.put(session.id.clone(), session.clone());
            Ok(session)
        })
    }

    async fn load_session(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.read(|state| {
            state
                .sessions
                .get(&id.to_owned())
                .filter(|session| now < session.expires_at)
                .cloned()
        }))
    }

    async fn remove_session(&self, id: &str) -> Result<(), StoreError> {
        self.write(|state| {
            state.sessions.take(&id.to_owned());
            Ok(())
        })
    }

    async fn remove_expired_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(|state| {
            Ok(state
                .sessions
                .take_where(|_, session| session.expires_at <= now))
        })
    }
}

#[async_trait]
impl Idempotency for MemoryStore {
    async fn append_once(
        &self,
        key: IdempotencyKey,
        entry: NewEntry,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError> {
        self.write(|state| {
            if let Some(record) = state.live_idempotency(&key.key, now) {
                return Ok(OnceOutcome::Repeated(record));
            }
            let uids = state.append(vec![entry])?;
            let task = *uids.first().expect("one entry was appended");
            Ok(state.note_idempotency(IdempotencyRecord { key, task }))
        })
    }

    async fn insert_idempotency(
        &self,
        record: IdempotencyRecord,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError> {
        self.write(|state| match state.live_idempotency(&record.key.key, now) {
            Some(record) => Ok(OnceOutcome::Repeated(record)),
            None => Ok(state.note_idempotency(record)),
        })
    }

    async fn load_idempotency(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        Ok(self.read(|state| state.live_idempotency(key, now)))
    }

    async fn remove_expired_idempotency(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(|state| {
            Ok(state
                .idempotency
                .take_where(|_, record| record.key.expires_at <= now))
        })
    }
}

#[async_trait]
impl Aliases for MemoryStore {
    async fn load_aliases(&self) -> Result<Vec<AliasRecord>, StoreError> {
        Ok(self.read(|state| state.aliases.rows().values().cloned().collect()))
    }

    async fn put_alias(
        &self,
        name: &IndexUid,
        target: AliasTarget,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<AliasRecord, StoreError> {
        self.write(|state| {
            let latest = state.alias_latest(name);
            let change = rules::change_alias(latest, Some(target.clone()), expected, now)?;
            let version = change.version;
            let alias = AliasRecord {
                name: name.clone(),
                target,
                version,
                updated_at: now,
            };
            state.note_alias(name, change);
            state.aliases.put(name.clone(), alias.clone());
            Ok(alias)
        })
    }

    async fn remove_alias(&self, name: &IndexUid, now: Timestamp) -> Result<(), StoreError> {
        self.write(|state| {
            if state.aliases.take(name).is_some() {
                let change = rules::change_alias(state.alias_latest(name), None, None, now)?;
                state.note_alias(name, change);
            }
            Ok(())
        })
    }

    async fn load_alias_history(&self, name: &IndexUid) -> Result<Vec<AliasChange>, StoreError> {
        let range = (name.clone(), 0)..=(name.clone(), u64::MAX);
        Ok(self.read(|state| {
            let history = state.alias_history.rows().range(range).rev();
            history.map(|(_, change)| change.clone()).collect()
        }))
    }
}

#[async_trait]
impl ApiKeys for MemoryStore {
    async fn put_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
        self.write(|state| {
            state.api_keys.put(record.uid, record.record);
            Ok(())
        })
    }

    async fn add_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
        self.write(|state| {
            if state.api_keys.get(&record.uid).is_some() {
                return Err(StoreError::Conflict(format!(
                    "there is an API key {}",
                    record.uid
                )));
            }
            state.api_keys.put(record.uid, record.record);
            Ok(())
        })
    }

    async fn load_api_keys(&self) -> Result<Vec<ApiKeyRecord>, StoreError> {
        Ok(self.read(|state| {
            let rows = state.api_keys.rows().iter();
            rows.map(|(uid, record)| ApiKeyRecord {
                uid: *uid,
                record: record.clone(),
            })
            .collect()
        }))
    }

    async fn remove_api_key(&self, uid: Uuid) -> Result<bool, StoreError> {
        self.write(|state| Ok(state.api_keys.take(&uid).is_some()))
    }
}

#[async_trait]
impl InstanceSettings for MemoryStore {
    async fn load_features(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        Ok(self.read(|state| state.features.rows().clone()))
    }

    async fn put_features(&self, features: BTreeMap<String, bool>) -> Result<(), StoreError> {
        self.write(|state| {
            for (name, is_enabled) in features {
                state.features.put(name, is_enabled);
            }
            Ok(())
        })
    }

    async fn put_webhook(&self, record: WebhookRecord) -> Result<(), StoreError> {
        self.write(|state| {
            state.webhooks.put(record.uuid, record.record);
            Ok(())
        })
    }

    async fn load_webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        Ok(self.read(|state| {
            let rows = state.webhooks.rows().iter();
            rows.map(|(uuid, record)| WebhookRecord {
                uuid: *uuid,
                record: record.clone(),
            })
            .collect()
        }))
    }

    async fn remove_webhook(&self, uuid: Uuid) -> Result<bool, StoreError> {
        self.write(|state| Ok(state.webhooks.take(&uuid).is_some()))
    }
}

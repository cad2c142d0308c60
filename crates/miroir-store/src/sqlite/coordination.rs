//! The lease, moves, sessions and idempotency keys.

use super::error::Sql;
use super::{SqliteStore, catalog, row, tasks};
use crate::rules;
use async_trait::async_trait;
use miroir_core::id::TaskUid;
use miroir_engine::coordination::{
    Idempotency, IdempotencyKey, IdempotencyRecord, LeaderLease, Lease, LeaseEpoch, LeaseOutcome,
    MoveRecord, Moves, OnceOutcome, SessionRecord, Sessions,
};
use miroir_engine::port::{NewEntry, StoreError, Timestamp};
use rusqlite::{Connection, params};

fn load_lease(connection: &Connection) -> Sql<Option<Lease>> {
    let mut statement =
        connection.prepare_cached("SELECT holder, epoch, expires_at FROM leader_lease")?;
    let mut rows = statement.query([])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Lease {
        holder: found.get(0)?,
        epoch: LeaseEpoch(row::uint(found.get(1)?, "lease epoch")?),
        expires_at: row::timestamp(found.get(2)?)?,
    }))
}

fn put_lease(connection: &Connection, lease: &Lease) -> Sql<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO leader_lease VALUES (1, ?1, ?2, ?3)")?
        .execute(params![
            lease.holder,
            row::int(lease.epoch.0)?,
            row::nanos(lease.expires_at)?
        ])?;
    Ok(())
}

#[async_trait]
impl LeaderLease for SqliteStore {
    async fn acquire_lease(
        &self,
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<LeaseOutcome, StoreError> {
        let holder = holder.to_owned();
        self.write(move |tx| {
            let outcome = rules::acquire_lease(load_lease(tx)?, &holder, now, expires_at);
            if let LeaseOutcome::Held(lease) = &outcome {
                put_lease(tx, lease)?;
            }
            Ok(outcome)
        })
        .await
    }

    async fn renew_lease(
        &self,
        holder: &str,
        epoch: LeaseEpoch,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Lease, StoreError> {
        let holder = holder.to_owned();
        self.write(move |tx| {
            let lease = rules::renew_lease(load_lease(tx)?, &holder, epoch, now, expires_at)?;
            put_lease(tx, &lease)?;
            Ok(lease)
        })
        .await
    }

    async fn release_lease(&self, holder: &str, epoch: LeaseEpoch) -> Result<(), StoreError> {
        let holder = holder.to_owned();
        self.write(move |tx| {
            if let Some(lease) = rules::release_lease(load_lease(tx)?, &holder, epoch) {
                put_lease(tx, &lease)?;
            }
            Ok(())
        })
        .await
    }

    async fn load_lease(&self) -> Result<Option<Lease>, StoreError> {
        self.read(load_lease).await
    }
}

#[async_trait]
impl Moves for SqliteStore {
    async fn put_move(&self, record: MoveRecord) -> Result<(), StoreError> {
        self.write(move |tx| {
            let state = row::to_json(&record.state)?;
            tx.prepare_cached("INSERT OR REPLACE INTO moves VALUES (?1, ?2, ?3)")?
                .execute(params![record.id, state, row::nanos(record.updated_at)?])?;
            Ok(())
        })
        .await
    }

    async fn load_moves(&self) -> Result<Vec<MoveRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, state, updated_at FROM moves ORDER BY id";
            catalog::load_all(connection, sql, |found| {
                let state: String = found.get(1)?;
                Ok(MoveRecord {
                    id: found.get(0)?,
                    state: row::from_json(&state, "state of a move")?,
                    updated_at: row::timestamp(found.get(2)?)?,
                })
            })
        })
        .await
    }

    async fn remove_move(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |tx| {
            tx.prepare_cached("DELETE FROM moves WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        })
        .await
    }
}

fn load_session(connection: &Connection, id: &str) -> Sql<Option<SessionRecord>> {
    let mut statement = connection
        .prepare_cached("SELECT id, min_task, pinned, expires_at FROM sessions WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(SessionRecord {
        id: found.get(0)?,
        min_task: row::opt_uint(found.get(1)?, "task uid")?.map(TaskUid),
        pinned: found.get(2)?,
        expires_at: row::timestamp(found.get(3)?)?,
    }))
}

#[async_trait]
impl Sessions for SqliteStore {
    async fn put_session(
        &self,
        record: SessionRecord,
        now: Timestamp,
    ) -> Result<SessionRecord, StoreError> {
        self.write(move |tx| {
            let session = rules::merge_session(load_session(tx, &record.id)?, record, now);
            tx.prepare_cached("INSERT OR REPLACE INTO sessions VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![
                    session.id,
                    row::opt_int(session.min_task.map(|task| task.0))?,
                    session.pinned,
                    row::nanos(session.expires_at)?,
                ])?;
            Ok(session)
        })
        .await
    }

    async fn load_session(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let id = id.to_owned();
        let session = self
            .read(move |connection| load_session(connection, &id))
            .await?;
        Ok(session.filter(|session| now < session.expires_at))
    }

    async fn remove_session(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |tx| {
            tx.prepare_cached("DELETE FROM sessions WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        })
        .await
    }

    async fn remove_expired_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let gone = tx
                .prepare_cached("DELETE FROM sessions WHERE expires_at <= ?1")?
                .execute([row::nanos(now)?])?;
            Ok(gone as u64)
        })
        .await
    }
}

fn load_key(connection: &Connection, key: &str, now: Timestamp) -> Sql<Option<IdempotencyRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, body_sha256, task_uid, expires_at FROM idempotency_cache WHERE key = ?1",
    )?;
    let mut rows = statement.query([key])?;
    let Some(found) = rows.next()? else {
        return Ok(None);
    };
    let body_sha256: Vec<u8> = found.get(1)?;
    let length = body_sha256.len();
    let key = IdempotencyKey {
        key: found.get(0)?,
        body_sha256: body_sha256
            .try_into()
            .map_err(|_| row::corrupt("body digest", length))?,
        expires_at: row::timestamp(found.get(3)?)?,
    };
    let task = TaskUid(row::uint(found.get(2)?, "task uid")?);
    Ok((now < key.expires_at).then_some(IdempotencyRecord { key, task }))
}

fn put_key(connection: &Connection, record: IdempotencyRecord) -> Sql<OnceOutcome> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO idempotency_cache VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            record.key.key,
            record.key.body_sha256.as_slice(),
            row::int(record.task.0)?,
            row::nanos(record.key.expires_at)?,
        ])?;
    Ok(OnceOutcome::First(record))
}

#[async_trait]
impl Idempotency for SqliteStore {
    async fn append_once(
        &self,
        key: IdempotencyKey,
        entry: NewEntry,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError> {
        self.write(move |tx| {
            if let Some(record) = load_key(tx, &key.key, now)? {
                return Ok(OnceOutcome::Repeated(record));
            }
            let uids = tasks::append(tx, vec![entry])?;
            let task = *uids.first().expect("one entry was appended");
            put_key(tx, IdempotencyRecord { key, task })
        })
        .await
    }

    async fn insert_idempotency(
        &self,
        record: IdempotencyRecord,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError> {
        self.write(move |tx| match load_key(tx, &record.key.key, now)? {
            Some(record) => Ok(OnceOutcome::Repeated(record)),
            None => put_key(tx, record),
        })
        .await
    }

    async fn load_idempotency(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        let key = key.to_owned();
        self.read(move |connection| load_key(connection, &key, now))
            .await
    }

    async fn remove_expired_idempotency(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let gone = tx
                .prepare_cached("DELETE FROM idempotency_cache WHERE expires_at <= ?1")?
                .execute([row::nanos(now)?])?;
            Ok(gone as u64)
        })
        .await
    }
}

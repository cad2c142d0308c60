//! Background work.

use super::error::Sql;
use super::{SqliteStore, catalog, row};
use crate::rules;
use async_trait::async_trait;
use miroir_engine::coordination::{JobClaim, JobEnd, JobRecord, JobState, Jobs, NewJob};
use miroir_engine::port::{StoreError, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

const SELECT: &str = "SELECT id, kind, params, state, claim_holder, claim_expires_at, progress,
    error, created_at, updated_at FROM jobs";

/// Stored; never to be changed.
fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Canceled => "canceled",
    }
}

fn state(name: &str) -> Result<JobState, StoreError> {
    match name {
        "queued" => Ok(JobState::Queued),
        "running" => Ok(JobState::Running),
        "succeeded" => Ok(JobState::Succeeded),
        "failed" => Ok(JobState::Failed),
        "canceled" => Ok(JobState::Canceled),
        other => Err(row::corrupt("job state", other)),
    }
}

fn decode(found: &Row<'_>) -> Sql<JobRecord> {
    let params: String = found.get(2)?;
    let state_name: String = found.get(3)?;
    let holder: Option<String> = found.get(4)?;
    let expires_at: Option<i64> = found.get(5)?;
    let progress: String = found.get(6)?;
    let claim = match (holder, row::opt_timestamp(expires_at)?) {
        (Some(holder), Some(expires_at)) => Some(JobClaim { holder, expires_at }),
        _ => None,
    };
    Ok(JobRecord {
        id: found.get(0)?,
        kind: found.get(1)?,
        params: row::from_json(&params, "job parameters")?,
        state: state(&state_name)?,
        claim,
        progress: row::from_json(&progress, "job progress")?,
        error: row::opt_from_json(found.get(7)?, "job error")?,
        created_at: row::timestamp(found.get(8)?)?,
        updated_at: row::timestamp(found.get(9)?)?,
    })
}

fn load(connection: &Connection, id: &str) -> Sql<Option<JobRecord>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(decode).transpose()
}

fn load_existing(connection: &Connection, id: &str) -> Sql<JobRecord> {
    Ok(load(connection, id)?.ok_or_else(|| rules::missing("job", id))?)
}

fn load_claimable(
    connection: &Connection,
    kinds: &[String],
    now: Timestamp,
) -> Sql<Option<JobRecord>> {
    let mut statement = connection.prepare_cached(&format!(
        "{SELECT} WHERE kind IN (SELECT value FROM json_each(?1))
            AND (state = 'queued' OR (state = 'running' AND claim_expires_at <= ?2))
         ORDER BY created_at, id LIMIT 1"
    ))?;
    let mut rows = statement.query(params![row::to_json(&kinds)?, row::nanos(now)?])?;
    rows.next()?.map(decode).transpose()
}

fn put(connection: &Connection, job: JobRecord) -> Sql<JobRecord> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            job.id,
            job.kind,
            row::to_json(&job.params)?,
            state_name(job.state),
            job.claim.as_ref().map(|claim| &claim.holder),
            row::opt_nanos(job.claim.as_ref().map(|claim| claim.expires_at))?,
            row::to_json(&job.progress)?,
            row::opt_json(job.error.as_ref())?,
            row::nanos(job.created_at)?,
            row::nanos(job.updated_at)?,
        ])?;
    Ok(job)
}

#[async_trait]
impl Jobs for SqliteStore {
    async fn add_job(&self, job: NewJob, now: Timestamp) -> Result<JobRecord, StoreError> {
        self.write(move |tx| {
            if load(tx, &job.id)?.is_some() {
                return Err(StoreError::Conflict(format!("there is a job `{}`", job.id)).into());
            }
            put(tx, rules::new_job(job, now))
        })
        .await
    }

    async fn load_job(&self, id: &str) -> Result<Option<JobRecord>, StoreError> {
        let id = id.to_owned();
        self.read(move |connection| load(connection, &id)).await
    }

    async fn load_jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        let sql = format!("{SELECT} ORDER BY created_at, id");
        self.read(move |connection| catalog::load_all(connection, &sql, decode))
            .await
    }

    async fn claim_job(
        &self,
        kinds: &[&str],
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<JobRecord>, StoreError> {
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let holder = holder.to_owned();
        self.write(move |tx| {
            let Some(job) = load_claimable(tx, &kinds, now)? else {
                return Ok(None);
            };
            put(tx, rules::claim_job(job, &holder, now, expires_at)).map(Some)
        })
        .await
    }

    async fn renew_job(
        &self,
        id: &str,
        holder: &str,
        progress: Value,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<JobRecord, StoreError> {
        let (id, holder) = (id.to_owned(), holder.to_owned());
        self.write(move |tx| {
            let job = load_existing(tx, &id)?;
            put(
                tx,
                rules::renew_job(job, &holder, progress, now, expires_at)?,
            )
        })
        .await
    }

    async fn finish_job(
        &self,
        id: &str,
        holder: &str,
        end: JobEnd,
        now: Timestamp,
    ) -> Result<JobRecord, StoreError> {
        let (id, holder) = (id.to_owned(), holder.to_owned());
        self.write(move |tx| {
            let job = load_existing(tx, &id)?;
            put(tx, rules::finish_job(job, &holder, end, now)?)
        })
        .await
    }

    async fn cancel_job(&self, id: &str, now: Timestamp) -> Result<JobRecord, StoreError> {
        let id = id.to_owned();
        self.write(move |tx| {
            let job = load_existing(tx, &id)?;
            put(tx, rules::cancel_job(job, now))
        })
        .await
    }

    async fn remove_job(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(move |tx| {
            let Some(job) = load(tx, &id)? else {
                return Ok(());
            };
            rules::check_removable(&job)?;
            tx.prepare_cached("DELETE FROM jobs WHERE id = ?1")?
                .execute([id])?;
            Ok(())
        })
        .await
    }
}

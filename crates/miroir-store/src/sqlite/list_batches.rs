//! Pages of batches.
//!
//! What a filter says of tasks is asked of each batch's tasks, over the index `tasks_by_batch`. A
//! listing without a filter costs its page and one count; one with a filter walks the batches.

use super::error::Sql;
use super::list::{Conditions, IN_SIGHT, fetch_uids, number_list};
use super::row;
use miroir_core::id::BatchUid;
use miroir_core::summary::BatchSummary;
use miroir_core::task::{TaskFilter, TaskKind};
use miroir_engine::port::{BatchInfo, BatchPage, BatchQuery};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};

pub(super) fn list(connection: &Connection, query: &BatchQuery) -> Sql<BatchPage> {
    let conditions = conditions(&query.filter);
    let sql = format!("SELECT COUNT(*) FROM batches WHERE {}", conditions.to_sql());
    let total: i64 = connection
        .prepare_cached(&sql)?
        .query_row(params_from_iter(&conditions.values), |row| row.get(0))?;

    let mut uids = page(connection, conditions, query)?;
    let next = uids
        .get(query.limit)
        .map(|uid| row::uint(*uid, "batch uid"))
        .transpose()?;
    uids.truncate(query.limit);
    let patterns = patterns(&query.filter);
    let mut batches = Vec::with_capacity(uids.len());
    for uid in uids {
        batches.push(load_info(connection, uid, patterns.as_deref())?);
    }
    Ok(BatchPage {
        batches,
        total: row::uint(total, "batch count")?,
        next: next.map(BatchUid),
    })
}

/// At most one more uid than the page shows, in the page's order.
fn page(connection: &Connection, mut conditions: Conditions, query: &BatchQuery) -> Sql<Vec<i64>> {
    let (bound, order) = if query.is_reversed {
        ("uid >= ?", "ASC")
    } else {
        ("uid <= ?", "DESC")
    };
    if let Some(from) = query.from {
        conditions.push(bound, i64::try_from(from.0).unwrap_or(i64::MAX));
    }
    let sql = format!(
        "SELECT uid FROM batches WHERE {} ORDER BY uid {order} LIMIT ?",
        conditions.to_sql()
    );
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let mut values = conditions.values;
    values.push(limit.saturating_add(1).into());
    let mut uids = Vec::new();
    fetch_uids(connection, &sql, values, &mut uids)?;
    Ok(uids)
}

fn patterns(filter: &TaskFilter) -> Option<String> {
    let patterns = filter.index_patterns.as_ref();
    patterns.map(|patterns| serde_json::json!(patterns).to_string())
}

/// Conditions on the columns of `batches`.
fn conditions(filter: &TaskFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.push_list(
        "uid IN (SELECT value FROM json_each(?))",
        number_list(filter.batch_uids.as_deref()),
    );
    for (sql, bound) in [
        ("started_at < ?", filter.before_started_at),
        ("started_at > ?", filter.after_started_at),
        ("finished_at < ?", filter.before_finished_at),
        ("finished_at > ?", filter.after_finished_at),
    ] {
        if let Some(bound) = bound {
            conditions.push(sql, bound);
        }
    }
    for of_tasks in task_conditions(filter) {
        conditions.push_exists(&of_tasks, patterns(filter));
    }
    conditions
}

/// For each thing the filter speaks of, what one of the batch's tasks must meet.
fn task_conditions(filter: &TaskFilter) -> Vec<Conditions> {
    const UIDS: &str = "tasks.uid IN (SELECT value FROM json_each(?))";
    let mut all = Vec::new();
    if filter.index_patterns.is_some() {
        all.push(Conditions::default());
    }
    if filter.uids.is_some() {
        let mut conditions = Conditions::default();
        conditions.push_list(UIDS, number_list(filter.uids.as_deref()));
        all.push(conditions);
    }
    if filter.canceled_by.is_some() {
        let mut conditions = Conditions::default();
        conditions.push_list(UIDS, number_list(filter.canceled_by.as_deref()));
        let kind = row::kind_code(TaskKind::TaskCancelation);
        conditions.push("kind = ?", kind);
        let status = row::status_code(miroir_core::task::TaskStatus::Succeeded);
        conditions.push("status = ?", status);
        all.push(conditions);
    }
    let none = TaskFilter::default;
    let sorts = [
        filter.statuses.clone().map(|statuses| TaskFilter {
            statuses: Some(statuses),
            ..none()
        }),
        filter.types.clone().map(|types| TaskFilter {
            types: Some(types),
            ..none()
        }),
        filter.index_uids.clone().map(|index_uids| TaskFilter {
            index_uids: Some(index_uids),
            ..none()
        }),
    ];
    for sort in sorts.into_iter().flatten() {
        all.push(super::list::sort_conditions(&sort));
    }
    let mut enqueued = Conditions::default();
    for (sql, bound) in [
        ("enqueued_at < ?", filter.before_enqueued_at),
        ("enqueued_at > ?", filter.after_enqueued_at),
    ] {
        if let Some(bound) = bound {
            enqueued.push(sql, bound);
        }
    }
    if !enqueued.values.is_empty() {
        all.push(enqueued);
    }
    all
}

impl Conditions {
    /// One task of the batch, in sight, meets them all.
    fn push_exists(&mut self, of_tasks: &Conditions, patterns: Option<String>) {
        let mut inner = of_tasks.clone();
        inner.push_list(IN_SIGHT, patterns);
        let sql = format!(
            "EXISTS (SELECT 1 FROM tasks WHERE tasks.batch_uid = batches.uid AND {})",
            inner.to_sql()
        );
        self.push_all(sql, inner.values);
    }

    fn push_all(&mut self, sql: String, values: Vec<SqlValue>) {
        self.sql.push(sql.into());
        self.values.extend(values);
    }
}

fn load_info(connection: &Connection, uid: i64, patterns: Option<&str>) -> Sql<BatchInfo> {
    let (started_at, finished_at): (i64, Option<i64>) = connection
        .prepare_cached("SELECT started_at, finished_at FROM batches WHERE uid = ?1")?
        .query_row([uid], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (node_count, applied_count): (i64, i64) = connection
        .prepare_cached(
            "SELECT COUNT(*), COALESCE(SUM(is_applied), 0) FROM deliveries WHERE batch_uid = ?1",
        )?
        .query_row([uid], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(BatchInfo {
        uid: BatchUid(row::uint(uid, "batch uid")?),
        started_at: row::timestamp(started_at)?,
        finished_at: row::opt_timestamp(finished_at)?,
        node_count: row::uint(node_count, "node count")?,
        applied_count: row::uint(applied_count, "node count")?,
        summary: load_summary(connection, uid, patterns)?,
    })
}

fn load_summary(connection: &Connection, uid: i64, patterns: Option<&str>) -> Sql<BatchSummary> {
    let (sight, values): (_, Vec<SqlValue>) = match patterns {
        None => ("TRUE", vec![uid.into()]),
        Some(patterns) => (IN_SIGHT, vec![uid.into(), patterns.to_owned().into()]),
    };
    let sql = format!(
        "SELECT status, kind, index_uid, details FROM tasks
         WHERE batch_uid = ? AND {sight} ORDER BY uid"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut summary = BatchSummary::default();
    while let Some(found) = rows.next()? {
        let index_uid: String = found.get(2)?;
        let details: String = found.get(3)?;
        summary.add(
            row::status(found.get(0)?)?,
            row::kind(found.get(1)?)?,
            Some(index_uid.as_str()).filter(|uid| !uid.is_empty()),
            &row::from_json(&details, "details")?,
        );
    }
    Ok(summary)
}

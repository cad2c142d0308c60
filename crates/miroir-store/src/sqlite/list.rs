//! Pages of tasks.
//!
//! Filters by status, kind and index are answered from two indexes that end with the uid. The rows
//! of `task_counts` that match say which ranges of them exist and how many tasks each holds: their
//! sum is the total, and a page is the merge of a few tasks from each range. So the cost is that of
//! the page, whatever the length of the history.
//!
//! Filters that name tasks (uids, batches, cancelers) load those named. Filters by moments walk the
//! same ranges and look at each task they pass, and their total is counted.

use super::error::Sql;
use super::{row, tasks};
use miroir_core::id::TaskUid;
use miroir_core::task::TaskFilter;
use miroir_engine::port::{TaskPage, TaskQuery};
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, params_from_iter};
use std::borrow::Cow;

pub(super) fn list(connection: &Connection, query: &TaskQuery) -> Sql<TaskPage> {
    let (mut uids, total) = if names_tasks(&query.filter) {
        pick(connection, query)?
    } else {
        walk(connection, query)?
    };
    let next = uids
        .get(query.limit)
        .map(|uid| row::uint(*uid, "task uid"))
        .transpose()?;
    uids.truncate(query.limit);

    let mut statement = tasks::select_one(connection)?;
    let mut page = TaskPage {
        tasks: Vec::new(),
        total,
        next: next.map(TaskUid),
    };
    for uid in uids {
        let mut rows = statement.query([uid])?;
        if let Some(found) = rows.next()? {
            page.tasks.push(tasks::decode(found)?);
        }
    }
    Ok(page)
}

/// A condition and what it is given, joined by `AND` as they come.
#[derive(Clone, Default)]
pub(super) struct Conditions {
    pub(super) sql: Vec<Cow<'static, str>>,
    pub(super) values: Vec<SqlValue>,
}

impl Conditions {
    pub(super) fn push(&mut self, sql: &'static str, value: impl Into<SqlValue>) {
        self.sql.push(sql.into());
        self.values.push(value.into());
    }

    /// A list is one parameter, as JSON.
    pub(super) fn push_list(&mut self, sql: &'static str, list: Option<String>) {
        if let Some(list) = list {
            self.push(sql, list);
        }
    }

    pub(super) fn to_sql(&self) -> String {
        if self.sql.is_empty() {
            "TRUE".to_owned()
        } else {
            self.sql.join(" AND ")
        }
    }
}

/// The index matches one of the patterns. The empty name stands for "no index", which no pattern
/// matches, not even `*`.
pub(super) const IN_SIGHT: &str = "index_uid <> '' AND EXISTS (SELECT 1 FROM json_each(?) WHERE CASE substr(value, -1) \
     WHEN '*' THEN substr(index_uid, 1, length(value) - 1) = substr(value, 1, length(value) - 1) \
     ELSE index_uid = value END)";

fn names_tasks(filter: &TaskFilter) -> bool {
    filter.uids.is_some() || filter.batch_uids.is_some() || filter.canceled_by.is_some()
}

fn is_by_index(filter: &TaskFilter) -> bool {
    filter.index_uids.is_some() || filter.index_patterns.is_some()
}

/// A JSON list of numbers; those that no row can have are left out.
pub(super) fn number_list(numbers: Option<&[u64]>) -> Option<String> {
    let stored = |numbers: &[u64]| -> Vec<i64> {
        numbers
            .iter()
            .filter_map(|number| i64::try_from(*number).ok())
            .collect()
    };
    numbers.map(|numbers| serde_json::json!(stored(numbers)).to_string())
}

/// Conditions on the columns that `tasks` and `task_counts` share.
pub(super) fn sort_conditions(filter: &TaskFilter) -> Conditions {
    let statuses = filter.statuses.as_ref().map(|statuses| {
        statuses
            .iter()
            .map(|status| row::status_code(*status))
            .collect::<Vec<i64>>()
    });
    let kinds = filter.types.as_ref().map(|kinds| {
        kinds
            .iter()
            .map(|kind| row::kind_code(*kind))
            .collect::<Vec<i64>>()
    });
    let index_uids = filter.index_uids.as_ref().map(|uids| {
        // The empty name stands for "no index" in the table and must not be found by it.
        uids.iter()
            .filter(|uid| !uid.is_empty())
            .collect::<Vec<_>>()
    });
    let list = |list: serde_json::Value| (!list.is_null()).then(|| list.to_string());
    let mut conditions = Conditions::default();
    conditions.push_list(
        "status IN (SELECT value FROM json_each(?))",
        list(serde_json::json!(statuses)),
    );
    conditions.push_list(
        "kind IN (SELECT value FROM json_each(?))",
        list(serde_json::json!(kinds)),
    );
    conditions.push_list(
        "index_uid IN (SELECT value FROM json_each(?))",
        list(serde_json::json!(index_uids)),
    );
    conditions.push_list(IN_SIGHT, list(serde_json::json!(filter.index_patterns)));
    conditions
}

/// Conditions on moments. A task without the moment has NULL there, which no comparison finds.
fn moment_conditions(filter: &TaskFilter) -> Conditions {
    let mut conditions = Conditions::default();
    for (sql, bound) in [
        ("enqueued_at < ?", filter.before_enqueued_at),
        ("enqueued_at > ?", filter.after_enqueued_at),
        ("started_at < ?", filter.before_started_at),
        ("started_at > ?", filter.after_started_at),
        ("finished_at < ?", filter.before_finished_at),
        ("finished_at > ?", filter.after_finished_at),
    ] {
        if let Some(bound) = bound {
            conditions.push(sql, bound);
        }
    }
    conditions
}

/// All tasks that the filter names and accepts: the uids from `from` on, in the page's order, and
/// how many there are in all.
fn pick(connection: &Connection, query: &TaskQuery) -> Sql<(Vec<i64>, u64)> {
    let filter = &query.filter;
    let mut conditions = Conditions::default();
    conditions.push_list(
        "uid IN (SELECT value FROM json_each(?))",
        number_list(filter.uids.as_deref()),
    );
    conditions.push_list(
        "batch_uid IN (SELECT value FROM json_each(?))",
        number_list(filter.batch_uids.as_deref()),
    );
    conditions.push_list(
        "canceled_by IN (SELECT value FROM json_each(?))",
        number_list(filter.canceled_by.as_deref()),
    );
    for more in [sort_conditions(filter), moment_conditions(filter)] {
        conditions.sql.extend(more.sql);
        conditions.values.extend(more.values);
    }
    let sql = format!("SELECT uid FROM tasks WHERE {}", conditions.to_sql());
    let mut uids = Vec::new();
    fetch_uids(connection, &sql, conditions.values, &mut uids)?;
    let total = uids.len() as u64;
    sort_page(&mut uids, query.is_reversed);
    if let Some(from) = query
        .from
        .map(|uid| i64::try_from(uid.0).unwrap_or(i64::MAX))
    {
        uids.retain(|uid| {
            if query.is_reversed {
                *uid >= from
            } else {
                *uid <= from
            }
        });
    }
    Ok((uids, total))
}

/// One range of an index.
struct Sort {
    index_uid: Option<String>,
    status: i64,
    kind: i64,
}

/// At most one more uid than the page shows, in the page's order, and how many tasks match.
fn walk(connection: &Connection, query: &TaskQuery) -> Sql<(Vec<i64>, u64)> {
    let filter = &query.filter;
    let moments = moment_conditions(filter);
    let is_unsorted = filter.statuses.is_none() && filter.types.is_none() && !is_by_index(filter);

    let (sorts, mut total) = load_sorts(connection, filter)?;
    let mut uids = Vec::new();
    if is_unsorted {
        let sql = walk_sql("tasks", &[], &moments, query.is_reversed);
        fetch_uids(
            connection,
            &sql,
            walk_values(vec![], &moments, query),
            &mut uids,
        )?;
    } else {
        for sort in sorts {
            let (source, ends, values): (_, &[&str], _) = match sort.index_uid {
                Some(index_uid) => (
                    "tasks INDEXED BY tasks_by_index",
                    &["index_uid = ?", "status = ?", "kind = ?"],
                    vec![index_uid.into(), sort.status.into(), sort.kind.into()],
                ),
                None => (
                    "tasks INDEXED BY tasks_by_status",
                    &["status = ?", "kind = ?"],
                    vec![sort.status.into(), sort.kind.into()],
                ),
            };
            let sql = walk_sql(source, ends, &moments, query.is_reversed);
            fetch_uids(
                connection,
                &sql,
                walk_values(values, &moments, query),
                &mut uids,
            )?;
        }
        sort_page(&mut uids, query.is_reversed);
        uids.truncate(query.limit.saturating_add(1));
    }

    if !moments.sql.is_empty() {
        let mut conditions = sort_conditions(filter);
        conditions.sql.extend(moments.sql);
        conditions.values.extend(moments.values);
        let sql = format!("SELECT COUNT(*) FROM tasks WHERE {}", conditions.to_sql());
        let count: i64 = connection
            .prepare_cached(&sql)?
            .query_row(params_from_iter(conditions.values), |row| row.get(0))?;
        total = row::uint(count, "task count")?;
    }
    Ok((uids, total))
}

/// The sorts of tasks that match, and how many tasks they hold. By index only if the filter is.
fn load_sorts(connection: &Connection, filter: &TaskFilter) -> Sql<(Vec<Sort>, u64)> {
    let conditions = sort_conditions(filter);
    let index_uid = if is_by_index(filter) {
        "index_uid"
    } else {
        "NULL"
    };
    let sql = format!(
        "SELECT {index_uid}, status, kind, SUM(count) FROM task_counts WHERE {} GROUP BY 1, 2, 3",
        conditions.to_sql()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    let mut sorts = Vec::new();
    let mut total = 0;
    while let Some(found) = rows.next()? {
        sorts.push(Sort {
            index_uid: found.get(0)?,
            status: found.get(1)?,
            kind: found.get(2)?,
        });
        total += row::uint::<u64>(found.get(3)?, "task count")?;
    }
    Ok((sorts, total))
}

fn walk_sql(source: &str, ends: &[&str], moments: &Conditions, is_reversed: bool) -> String {
    let (bound, order) = if is_reversed {
        ("uid >= ?", "ASC")
    } else {
        ("uid <= ?", "DESC")
    };
    let conditions: Vec<&str> = ends
        .iter()
        .copied()
        .chain([bound])
        .chain(moments.sql.iter().map(AsRef::as_ref))
        .collect();
    format!(
        "SELECT uid FROM {source} WHERE {} ORDER BY uid {order} LIMIT ?",
        conditions.join(" AND ")
    )
}

fn walk_values(
    mut values: Vec<SqlValue>,
    moments: &Conditions,
    query: &TaskQuery,
) -> Vec<SqlValue> {
    let unbounded = if query.is_reversed { 0 } else { i64::MAX };
    let from = query
        .from
        .map_or(unbounded, |uid| i64::try_from(uid.0).unwrap_or(i64::MAX));
    let limit = i64::try_from(query.limit)
        .unwrap_or(i64::MAX)
        .saturating_add(1);
    values.push(from.into());
    values.extend(moments.values.iter().cloned());
    values.push(limit.into());
    values
}

pub(super) fn fetch_uids(
    connection: &Connection,
    sql: &str,
    values: Vec<SqlValue>,
    uids: &mut Vec<i64>,
) -> Sql<()> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(found) = rows.next()? {
        uids.push(found.get(0)?);
    }
    Ok(())
}

fn sort_page(uids: &mut [i64], is_reversed: bool) {
    uids.sort_unstable();
    if !is_reversed {
        uids.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let parameter_count = statement.parameter_count();
        let rows = statement
            .query_map(
                params_from_iter(vec![SqlValue::Integer(1); parameter_count]),
                |row| row.get::<_, String>(3),
            )
            .unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
    }

    #[test]
    fn a_walk_is_a_range_of_an_index_in_the_order_of_the_page() {
        let connection = schema::open_in_memory();
        let none = Conditions::default();
        for (source, ends, expected) in [
            (
                "tasks",
                &[][..],
                "SEARCH tasks USING INTEGER PRIMARY KEY (rowid",
            ),
            (
                "tasks INDEXED BY tasks_by_status",
                &["status = ?", "kind = ?"][..],
                "SEARCH tasks USING COVERING INDEX tasks_by_status (status=? AND kind=? AND rowid",
            ),
            (
                "tasks INDEXED BY tasks_by_index",
                &["index_uid = ?", "status = ?", "kind = ?"][..],
                "SEARCH tasks USING COVERING INDEX tasks_by_index \
                 (index_uid=? AND status=? AND kind=? AND rowid",
            ),
        ] {
            for is_reversed in [false, true] {
                let plan = plan(&connection, &walk_sql(source, ends, &none, is_reversed));
                assert!(plan.starts_with(expected), "{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            }
        }
    }

    #[test]
    fn named_tasks_are_looked_up() {
        let connection = schema::open_in_memory();
        for (condition, expected) in [
            (
                "uid IN (SELECT value FROM json_each(?))",
                "INTEGER PRIMARY KEY",
            ),
            (
                "batch_uid IN (SELECT value FROM json_each(?))",
                "tasks_by_batch",
            ),
            (
                "canceled_by IN (SELECT value FROM json_each(?))",
                "tasks_by_canceler",
            ),
        ] {
            let plan = plan(
                &connection,
                &format!("SELECT uid FROM tasks WHERE {condition}"),
            );
            assert!(
                plan.contains("SEARCH tasks USING") && plan.contains(expected),
                "{plan}"
            );
        }
    }
}

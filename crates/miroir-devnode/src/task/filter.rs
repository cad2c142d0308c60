//! Which tasks a request speaks of: the parameters of `/tasks`, `/batches`, cancel and delete.

use crate::clock::{Nanos, from_date};
use crate::error::ApiError;
use crate::http::query::parse_integer;
use crate::http::{Query, check_index_uid};
use crate::task::{BatchUid, KINDS, Status, TaskUid};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, Time};

/// The parameters that choose tasks.
pub(crate) const FILTER_PARAMETERS: [&str; 12] = [
    "uids",
    "batchUids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

/// [`FILTER_PARAMETERS`] and those that choose a page.
pub(crate) const LIST_PARAMETERS: [&str; 15] = [
    "limit",
    "from",
    "reverse",
    "uids",
    "batchUids",
    "canceledBy",
    "types",
    "statuses",
    "indexUids",
    "afterEnqueuedAt",
    "beforeEnqueuedAt",
    "afterStartedAt",
    "beforeStartedAt",
    "afterFinishedAt",
    "beforeFinishedAt",
];

/// Tasks shown when no limit is given.
const DEFAULT_LIMIT: usize = 20;

/// A set of tasks. `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TaskFilter {
    pub(crate) uids: Option<Vec<TaskUid>>,
    pub(crate) batch_uids: Option<Vec<BatchUid>>,
    pub(crate) canceled_by: Option<Vec<TaskUid>>,
    pub(crate) kinds: Option<Vec<&'static str>>,
    pub(crate) statuses: Option<Vec<Status>>,
    pub(crate) index_uids: Option<Vec<String>>,
    /// Bounds in time, all exclusive.
    pub(crate) dates: Vec<DateBound>,
}

/// One exclusive bound of one date of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateBound {
    /// The column of the date.
    pub(crate) column: &'static str,
    pub(crate) is_lower: bool,
    pub(crate) at: Nanos,
}

/// A part of a set of tasks, newest first unless `reverse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskPage {
    pub(crate) filter: TaskFilter,
    pub(crate) limit: usize,
    /// First uid shown at most (or at least, in reverse).
    pub(crate) from: Option<TaskUid>,
    pub(crate) reverse: bool,
}

impl TaskPage {
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        let from = query.get("from");
        Ok(Self {
            filter: TaskFilter::from_query(query)?,
            limit: query.usize_or("limit", DEFAULT_LIMIT, "invalid_task_limit")?,
            from: from
                .map(|text| parse_integer("from", text, "invalid_task_from"))
                .transpose()?,
            reverse: query.boolean("reverse", "invalid_task_reverse")?,
        })
    }
}

impl TaskFilter {
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            uids: integers(query, "uids", "invalid_task_uids")?,
            batch_uids: integers(query, "batchUids", "invalid_batch_uids")?,
            canceled_by: integers(query, "canceledBy", "invalid_task_canceled_by")?,
            kinds: kinds(query)?,
            statuses: statuses(query)?,
            index_uids: index_uids(query)?,
            dates: dates(query)?,
        })
    }
}

fn integers(query: &Query, name: &str, code: &'static str) -> Result<Option<Vec<u32>>, ApiError> {
    let Some(parts) = query.csv_or_star(name) else {
        return Ok(None);
    };
    parts
        .iter()
        .map(|part| parse_integer(name, part, code))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn kinds(query: &Query) -> Result<Option<Vec<&'static str>>, ApiError> {
    let Some(parts) = query.csv_or_star("types") else {
        return Ok(None);
    };
    let find =
        |part: &String| {
            KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(part)).ok_or_else(|| {
            let known: Vec<String> = KINDS.iter().map(|kind| format!("`{kind}`")).collect();
            ApiError::new(
                "invalid_task_types",
                format!(
                    "Invalid value in parameter `types`: `{part}` is not a valid task type. \
                     Available types are {}.",
                    known.join(", ")
                ),
            )
        })
        };
    parts.iter().map(find).collect::<Result<_, _>>().map(Some)
}

fn statuses(query: &Query) -> Result<Option<Vec<Status>>, ApiError> {
    let Some(parts) = query.csv_or_star("statuses") else {
        return Ok(None);
    };
    let find = |part: &String| {
        Status::from_name(part).ok_or_else(|| {
            let known = Status::ALL.map(|status| format!("`{}`", status.name()));
            ApiError::new(
                "invalid_task_statuses",
                format!(
                    "Invalid value in parameter `statuses`: `{part}` is not a valid task status. \
                     Available statuses are {}.",
                    known.join(", ")
                ),
            )
        })
    };
    parts.iter().map(find).collect::<Result<_, _>>().map(Some)
}

fn index_uids(query: &Query) -> Result<Option<Vec<String>>, ApiError> {
    let Some(parts) = query.csv_or_star("indexUids") else {
        return Ok(None);
    };
    for part in &parts {
        check_index_uid(part)
            .map_err(|error| error.inside("Invalid value in parameter `indexUids`: "))?;
    }
    Ok(Some(parts))
}

fn dates(query: &Query) -> Result<Vec<DateBound>, ApiError> {
    const BOUNDS: [(&str, &str, bool, &str); 6] = [
        (
            "afterEnqueuedAt",
            "enqueued_at",
            true,
            "invalid_task_after_enqueued_at",
        ),
        (
            "beforeEnqueuedAt",
            "enqueued_at",
            false,
            "invalid_task_before_enqueued_at",
        ),
        (
            "afterStartedAt",
            "started_at",
            true,
            "invalid_task_after_started_at",
        ),
        (
            "beforeStartedAt",
            "started_at",
            false,
            "invalid_task_before_started_at",
        ),
        (
            "afterFinishedAt",
            "finished_at",
            true,
            "invalid_task_after_finished_at",
        ),
        (
            "beforeFinishedAt",
            "finished_at",
            false,
            "invalid_task_before_finished_at",
        ),
    ];
    let mut bounds = Vec::new();
    for (name, column, is_lower, code) in BOUNDS {
        let Some(text) = query.get(name).filter(|text| *text != "*") else {
            continue;
        };
        let at = parse_date(text, is_lower).ok_or_else(|| {
            ApiError::new(
                code,
                format!(
                    "Invalid value in parameter `{name}`: `{text}` is an invalid date-time. It \
                     should follow the YYYY-MM-DD or RFC 3339 date-time format."
                ),
            )
        })?;
        bounds.push(DateBound {
            column,
            is_lower,
            at,
        });
    }
    Ok(bounds)
}

/// A bare date is midnight UTC; as a lower bound it means the end of that day.
fn parse_date(text: &str, is_lower: bool) -> Option<Nanos> {
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(from_date(date));
    }
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    let midnight = date.with_time(Time::MIDNIGHT).assume_utc();
    let at = if is_lower {
        midnight.checked_add(Duration::DAY)?
    } else {
        midnight
    };
    Some(from_date(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<TaskFilter, ApiError> {
        let uri = format!("/tasks?{query}").parse().unwrap();
        TaskFilter::from_query(&Query::of(&uri, &LIST_PARAMETERS).unwrap())
    }

    #[test]
    fn a_star_does_not_restrict() {
        assert_eq!(
            filter("uids=*&types=*&statuses=*&indexUids=*").unwrap(),
            TaskFilter::default()
        );
    }

    #[test]
    fn names_of_types_and_statuses_are_read_in_any_case() {
        let filter = filter("types=SETTINGSupdate&statuses=Failed,canceled").unwrap();
        assert_eq!(filter.kinds.unwrap(), ["settingsUpdate"]);
        assert_eq!(filter.statuses.unwrap(), [Status::Failed, Status::Canceled]);
    }

    #[test]
    fn a_bare_date_is_moved_to_the_next_day_when_it_is_a_lower_bound() {
        let after = filter("afterEnqueuedAt=1970-01-01").unwrap().dates;
        let before = filter("beforeEnqueuedAt=1970-01-01").unwrap().dates;
        assert_eq!((after[0].at, before[0].at), (86_400_000_000_000, 0));
    }

    #[test]
    fn wrong_values_have_the_code_of_their_parameter() {
        let code = |query: &str| filter(query).unwrap_err().code;
        assert_eq!(code("uids=1,x"), "invalid_task_uids");
        assert_eq!(code("batchUids=-1"), "invalid_batch_uids");
        assert_eq!(code("canceledBy=x"), "invalid_task_canceled_by");
        assert_eq!(code("types=x"), "invalid_task_types");
        assert_eq!(code("statuses=x"), "invalid_task_statuses");
        assert_eq!(code("indexUids=a%20b"), "invalid_index_uid");
        assert_eq!(
            code("beforeStartedAt=yesterday"),
            "invalid_task_before_started_at"
        );
    }
}

//! Tasks: how they are shown, listed and chosen.

use crate::error::{Code, ResponseError};
use crate::index::{invalid_uid_reason, is_index_uid};
use crate::query::{Parameter, StarOrList, parameters, unknown_parameter};
use serde::Serialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, UtcOffset};

/// How many tasks a listing shows when the client does not say.
pub const LIMIT_DEFAULT: u32 = 20;

/// The statuses of a task.
pub const STATUSES: &[&str] = &["enqueued", "processing", "succeeded", "failed", "canceled"];

/// The types of tasks, in the order in which refusals list them.
#[rustfmt::skip]
pub const TYPES: &[&str] = &[
    "documentAdditionOrUpdate", "documentEdition", "documentDeletion", "settingsUpdate",
    "indexCreation", "indexDeletion", "indexUpdate", "indexSwap", "taskCancelation",
    "taskDeletion", "dumpCreation", "snapshotCreation", "export", "upgradeDatabase",
    "indexCompaction", "networkTopologyChange", "dsrUpdate", "dsrClear",
];

/// A task as `GET /tasks/{uid}` shows it; the fields are in wire order.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its uid.
    pub uid: u64,
    /// The batch it was put in.
    pub batch_uid: Option<u64>,
    /// The index it concerns.
    pub index_uid: Option<String>,
    /// One of [`STATUSES`].
    pub status: &'static str,
    /// One of [`TYPES`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The cancelation that ended it.
    pub canceled_by: Option<u64>,
    /// What its type tells about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The error object of a failed task.
    pub error: Option<Value>,
    /// ISO 8601, once it ended.
    pub duration: Option<String>,
    /// RFC 3339.
    pub enqueued_at: String,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub finished_at: Option<String>,
    /// What the client attached to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<String>,
}

/// A task as the answer to a write shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SummarizedTask {
    /// Its uid.
    pub task_uid: u64,
    /// The index it concerns.
    pub index_uid: Option<String>,
    /// One of [`STATUSES`].
    pub status: &'static str,
    /// One of [`TYPES`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// RFC 3339.
    pub enqueued_at: String,
    /// What the client attached to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_metadata: Option<String>,
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskList {
    /// The tasks of the page.
    pub results: Vec<TaskView>,
    /// All that match, whatever the page.
    pub total: u64,
    /// Tasks shown at most.
    pub limit: u32,
    /// The uid of the first shown.
    pub from: Option<u64>,
    /// The uid of the first not shown.
    pub next: Option<u64>,
}

/// A point in time as the API shows it: RFC 3339, UTC, up to nanoseconds.
#[must_use]
pub fn format_date(date: OffsetDateTime) -> String {
    // Only years beyond 9999 cannot be written; no clock of ours shows them.
    date.to_offset(UtcOffset::UTC)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A length of time as the API shows it: ISO 8601, days and seconds, the fraction in groups of
/// three digits. `None` if it is negative, which the standard cannot say.
#[must_use]
pub fn format_duration(duration: Duration) -> Option<String> {
    const SECONDS_PER_DAY: i64 = 86_400;
    if duration.is_negative() {
        return None;
    }
    let days = duration.whole_seconds() / SECONDS_PER_DAY;
    let seconds = duration.whole_seconds() % SECONDS_PER_DAY;
    let nanoseconds = duration.subsec_nanoseconds();
    let date = if days == 0 {
        String::new()
    } else {
        format!("{days}D")
    };
    let time = match nanoseconds {
        0 if seconds == 0 && days != 0 => String::new(),
        0 => format!("T{seconds}S"),
        n if n % 1_000_000 == 0 => format!("T{seconds}.{:03}S", n / 1_000_000),
        n if n % 1_000 == 0 => format!("T{seconds}.{:06}S", n / 1_000),
        n => format!("T{seconds}.{n:09}S"),
    };
    Some(format!("P{date}{time}"))
}

/// The task does not exist.
#[must_use]
pub fn task_not_found(uid: u64) -> ResponseError {
    ResponseError::new(Code::TaskNotFound, format!("Task `{uid}` not found."))
}

/// The task brought no documents, or has none any more.
#[must_use]
pub fn task_without_documents(uid: u64) -> ResponseError {
    ResponseError::new(
        Code::TaskFileNotFound,
        format!(
            "Task `{uid}` does not contain any documents. Only `documentAdditionOrUpdate` tasks \
             with the statuses `enqueued` or `processing` contain documents"
        ),
    )
}

/// Reads the uid in a path.
///
/// # Errors
/// It is no number.
pub fn read_uid(text: &str) -> Result<u64, ResponseError> {
    text.parse::<u32>().map(u64::from).map_err(|_| {
        ResponseError::new(
            Code::InvalidTaskUids,
            format!("Task uid `{text}` is invalid. It should only contain numeric characters."),
        )
    })
}

/// Which tasks are meant; `None` is no restriction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskFilter {
    /// Their uids.
    pub uids: Option<Vec<u64>>,
    /// Their batches.
    pub batch_uids: Option<Vec<u64>>,
    /// The cancelations that ended them.
    pub canceled_by: Option<Vec<u64>>,
    /// Their types, each one of [`TYPES`].
    pub types: Option<Vec<&'static str>>,
    /// Their statuses, each one of [`STATUSES`].
    pub statuses: Option<Vec<&'static str>>,
    /// Their indexes.
    pub index_uids: Option<Vec<String>>,
    /// Accepted later than this.
    pub after_enqueued_at: Option<OffsetDateTime>,
    /// Accepted earlier than this.
    pub before_enqueued_at: Option<OffsetDateTime>,
    /// Begun later than this.
    pub after_started_at: Option<OffsetDateTime>,
    /// Begun earlier than this.
    pub before_started_at: Option<OffsetDateTime>,
    /// Ended later than this.
    pub after_finished_at: Option<OffsetDateTime>,
    /// Ended earlier than this.
    pub before_finished_at: Option<OffsetDateTime>,
}

/// Which page of which tasks is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskListing {
    /// Tasks to show at most.
    pub limit: u32,
    /// The uid of the first to show.
    pub from: Option<u64>,
    /// Oldest first.
    pub is_reversed: bool,
    /// Which tasks.
    pub filter: TaskFilter,
}

#[rustfmt::skip]
const LISTING_PARAMETERS: &[&str] = &[
    "limit", "from", "reverse", "batchUids", "uids", "canceledBy", "types", "statuses",
    "indexUids", "afterEnqueuedAt", "beforeEnqueuedAt", "afterStartedAt", "beforeStartedAt",
    "afterFinishedAt", "beforeFinishedAt",
];

#[rustfmt::skip]
const FILTER_PARAMETERS: &[&str] = &[
    "uids", "batchUids", "canceledBy", "types", "statuses", "indexUids", "afterEnqueuedAt",
    "beforeEnqueuedAt", "afterStartedAt", "beforeStartedAt", "afterFinishedAt",
    "beforeFinishedAt",
];

/// Checks the query string of `GET /tasks`.
///
/// # Errors
/// The first mistake.
pub fn read_listing(raw: &str) -> Result<TaskListing, ResponseError> {
    let mut listing = TaskListing {
        limit: LIMIT_DEFAULT,
        from: None,
        is_reversed: false,
        filter: TaskFilter::default(),
    };
    for (name, value) in parameters(raw) {
        let parameter = |code| Parameter::new(&name, &value, code);
        match name.as_str() {
            "limit" => listing.limit = parameter(Code::InvalidTaskLimit).uid()?,
            "from" => listing.from = Some(parameter(Code::InvalidTaskFrom).uid()?.into()),
            "reverse" => listing.is_reversed = parameter(Code::InvalidTaskReverse).boolean()?,
            _ if read_filter_parameter(&mut listing.filter, &name, &value)? => {}
            _ => return Err(unknown_parameter(&name, LISTING_PARAMETERS)),
        }
    }
    Ok(listing)
}

/// What is done to the chosen tasks; the word a refusal uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskAction {
    /// `POST /tasks/cancel`.
    Cancel,
    /// `DELETE /tasks`.
    Delete,
}

/// Checks the query string of `POST /tasks/cancel` and `DELETE /tasks`.
///
/// # Errors
/// The first mistake, or no filter at all.
pub fn read_choice(raw: &str, action: TaskAction) -> Result<TaskFilter, ResponseError> {
    let mut filter = TaskFilter::default();
    let mut has_filter = false;
    for (name, value) in parameters(raw) {
        if !read_filter_parameter(&mut filter, &name, &value)? {
            return Err(unknown_parameter(&name, FILTER_PARAMETERS));
        }
        has_filter = true;
    }
    if has_filter {
        return Ok(filter);
    }
    let verb = match action {
        TaskAction::Cancel => "cancel",
        TaskAction::Delete => "delete",
    };
    Err(ResponseError::new(
        Code::MissingTaskFilters,
        format!(
            "Query parameters to filter the tasks to {verb} are missing. Available query \
             parameters are: `uids`, `indexUids`, `statuses`, `types`, `canceledBy`, \
             `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, `afterStartedAt`, \
             `beforeFinishedAt`, `afterFinishedAt`."
        ),
    ))
}

/// Reads one parameter into the filter; `false` if it is none of the filter's.
fn read_filter_parameter(
    filter: &mut TaskFilter,
    name: &str,
    value: &str,
) -> Result<bool, ResponseError> {
    let parameter = |code| Parameter::new(name, value, code);
    let uids = |code| -> Result<Option<Vec<u64>>, ResponseError> {
        let list = parameter(code).star_or_list(|element| Ok(u64::from(element.uid()?)))?;
        Ok(list.into_restriction())
    };
    let date = |code, bound| read_date(&parameter(code), bound);
    match name {
        "uids" => filter.uids = uids(Code::InvalidTaskUids)?,
        "batchUids" => filter.batch_uids = uids(Code::InvalidBatchUids)?,
        "canceledBy" => filter.canceled_by = uids(Code::InvalidTaskCanceledBy)?,
        "types" => {
            let list = read_names(&parameter(Code::InvalidTaskTypes), TYPES, "type")?;
            filter.types = list.into_restriction();
        }
        "statuses" => {
            let list = read_names(&parameter(Code::InvalidTaskStatuses), STATUSES, "status")?;
            filter.statuses = list.into_restriction();
        }
        "indexUids" => {
            let list = parameter(Code::InvalidIndexUid).star_or_list(|element| {
                let uid = element.value();
                if is_index_uid(uid) {
                    Ok(uid.to_owned())
                } else {
                    Err(element.invalid(invalid_uid_reason(uid)))
                }
            })?;
            filter.index_uids = list.into_restriction();
        }
        "afterEnqueuedAt" => {
            filter.after_enqueued_at = date(Code::InvalidTaskAfterEnqueuedAt, Bound::After)?;
        }
        "beforeEnqueuedAt" => {
            filter.before_enqueued_at = date(Code::InvalidTaskBeforeEnqueuedAt, Bound::Before)?;
        }
        "afterStartedAt" => {
            filter.after_started_at = date(Code::InvalidTaskAfterStartedAt, Bound::After)?;
        }
        "beforeStartedAt" => {
            filter.before_started_at = date(Code::InvalidTaskBeforeStartedAt, Bound::Before)?;
        }
        "afterFinishedAt" => {
            filter.after_finished_at = date(Code::InvalidTaskAfterFinishedAt, Bound::After)?;
        }
        "beforeFinishedAt" => {
            filter.before_finished_at = date(Code::InvalidTaskBeforeFinishedAt, Bound::Before)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn read_names(
    parameter: &Parameter<'_>,
    names: &'static [&'static str],
    what: &str,
) -> Result<StarOrList<&'static str>, ResponseError> {
    parameter.star_or_list(|element| {
        let found = names
            .iter()
            .find(|name| name.eq_ignore_ascii_case(element.value()));
        found.copied().ok_or_else(|| {
            let plural = if what == "status" {
                "statuses"
            } else {
                "types"
            };
            element.invalid(format_args!(
                "`{}` is not a valid task {what}. Available {plural} are {}.",
                element.value(),
                crate::validate::backticked(names)
            ))
        })
    })
}

/// Which side of a date is meant: a bare date in an *after* bound means the end of that day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    After,
    Before,
}

/// A date or date-time; `None` for `*`.
fn read_date(
    parameter: &Parameter<'_>,
    bound: Bound,
) -> Result<Option<OffsetDateTime>, ResponseError> {
    let text = parameter.value();
    if text == "*" {
        return Ok(None);
    }
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Some(date));
    }
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
    let date = match bound {
        Bound::Before => date,
        Bound::After => date.and_then(Date::next_day),
    };
    match date {
        Some(date) => Ok(Some(date.midnight().assume_utc())),
        None => Err(parameter.invalid(format_args!(
            "`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 \
             date-time format."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_task_has_the_wire_order() {
        let view = TaskView {
            uid: 1,
            batch_uid: None,
            index_uid: Some("a".into()),
            status: "enqueued",
            kind: "indexCreation",
            canceled_by: None,
            details: None,
            error: None,
            duration: None,
            enqueued_at: format_date(datetime!(2026-07-23 10:11:12.123456789 UTC)),
            started_at: None,
            finished_at: None,
            custom_metadata: None,
        };
        assert_eq!(
            serde_json::to_string(&view).expect("a task serializes"),
            r#"{"uid":1,"batchUid":null,"indexUid":"a","status":"enqueued","type":"indexCreation","canceledBy":null,"error":null,"duration":null,"enqueuedAt":"2026-07-23T10:11:12.123456789Z","startedAt":null,"finishedAt":null}"#
        );
    }

    #[test]
    fn dates_are_shown_in_utc() {
        assert_eq!(
            format_date(datetime!(2026-07-23 12:00:00 +2)),
            "2026-07-23T10:00:00Z"
        );
    }

    #[test]
    fn durations_are_iso_8601() {
        let check = |duration, text: &str| {
            assert_eq!(format_duration(duration).as_deref(), Some(text));
        };
        check(Duration::nanoseconds(123_456_789), "PT0.123456789S");
        check(Duration::milliseconds(1_500), "PT1.500S");
        check(Duration::microseconds(7), "PT0.000007S");
        check(Duration::ZERO, "PT0S");
        check(Duration::days(1) + Duration::seconds(2), "P1DT2S");
        check(Duration::days(2), "P2D");
        assert_eq!(format_duration(Duration::seconds(-1)), None);
    }

    #[test]
    fn a_listing_reads_every_filter() {
        let raw = "limit=5&from=9&reverse=true&uids=1,2&batchUids=*&types=DOCUMENTDELETION\
                   &statuses=failed,Succeeded&indexUids=a,b&canceledBy=4\
                   &afterEnqueuedAt=2026-01-02&beforeEnqueuedAt=2026-01-02\
                   &afterStartedAt=2026-01-02T03:04:05Z&beforeFinishedAt=*";
        let listing = read_listing(raw).expect("it is right");
        assert_eq!(
            (listing.limit, listing.from, listing.is_reversed),
            (5, Some(9), true)
        );
        let expected = TaskFilter {
            uids: Some(vec![1, 2]),
            types: Some(vec!["documentDeletion"]),
            statuses: Some(vec!["failed", "succeeded"]),
            index_uids: Some(vec!["a".into(), "b".into()]),
            canceled_by: Some(vec![4]),
            after_enqueued_at: Some(datetime!(2026-01-03 00:00 UTC)),
            before_enqueued_at: Some(datetime!(2026-01-02 00:00 UTC)),
            after_started_at: Some(datetime!(2026-01-02 03:04:05 UTC)),
            ..TaskFilter::default()
        };
        assert_eq!(listing.filter, expected);
    }

    #[test]
    fn wrong_filters_are_refused_in_meilisearch_words() {
        let check = |raw: &str, code: &str, message: &str| {
            let error = read_listing(raw).expect_err("it is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        };
        check(
            "uids=1,dogo",
            "invalid_task_uids",
            "Invalid value in parameter `uids[1]`: could not parse `dogo` as a positive integer",
        );
        check(
            "statuses=doggo",
            "invalid_task_statuses",
            "Invalid value in parameter `statuses`: `doggo` is not a valid task status. Available \
             statuses are `enqueued`, `processing`, `succeeded`, `failed`, `canceled`.",
        );
        check(
            "types=doggo",
            "invalid_task_types",
            "Invalid value in parameter `types`: `doggo` is not a valid task type. Available types \
             are `documentAdditionOrUpdate`, `documentEdition`, `documentDeletion`, \
             `settingsUpdate`, `indexCreation`, `indexDeletion`, `indexUpdate`, `indexSwap`, \
             `taskCancelation`, `taskDeletion`, `dumpCreation`, `snapshotCreation`, `export`, \
             `upgradeDatabase`, `indexCompaction`, `networkTopologyChange`, `dsrUpdate`, \
             `dsrClear`.",
        );
        check(
            "indexUids=the%20good%20doggo",
            "invalid_index_uid",
            "Invalid value in parameter `indexUids`: `the good doggo` is not a valid index uid. \
             Index uid can be an integer or a string containing only alphanumeric characters, \
             hyphens (-) and underscores (_), and can not be more than 512 bytes.",
        );
        check(
            "afterEnqueuedAt=doggo",
            "invalid_task_after_enqueued_at",
            "Invalid value in parameter `afterEnqueuedAt`: `doggo` is an invalid date-time. It \
             should follow the YYYY-MM-DD or RFC 3339 date-time format.",
        );
        check(
            "limit=-1",
            "invalid_task_limit",
            "Invalid value in parameter `limit`: could not parse `-1` as a positive integer",
        );
    }

    #[test]
    fn cancelations_and_deletions_need_a_filter_and_no_page() {
        let error = read_choice("", TaskAction::Delete).expect_err("there is no filter");
        assert_eq!(&*error.code, "missing_task_filters");
        assert!(
            error
                .message
                .starts_with("Query parameters to filter the tasks to delete are")
        );
        let error = read_choice("limit=3", TaskAction::Cancel).expect_err("no page is possible");
        assert_eq!(
            error.message,
            "Unknown parameter `limit`: expected one of `uids`, `batchUids`, `canceledBy`, `types`, \
             `statuses`, `indexUids`, `afterEnqueuedAt`, `beforeEnqueuedAt`, `afterStartedAt`, \
             `beforeStartedAt`, `afterFinishedAt`, `beforeFinishedAt`"
        );
        assert_eq!(
            read_choice("uids=*", TaskAction::Cancel),
            Ok(TaskFilter::default())
        );
    }

    #[test]
    fn the_uid_in_a_path_is_a_number() {
        assert_eq!(read_uid("12"), Ok(12));
        assert_eq!(
            read_uid("doggo").expect_err("no number").message,
            "Task uid `doggo` is invalid. It should only contain numeric characters."
        );
    }
}

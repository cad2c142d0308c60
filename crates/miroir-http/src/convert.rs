//! From wire types to the engine's and back. Nothing is decided here.

use crate::extract::Permit;
use miroir_api::batch::{BatchList, BatchStats, BatchView, Progress, ProgressStep};
use miroir_api::document::DocumentListing;
use miroir_api::index::IndexView;
use miroir_api::search::SearchQuery;
use miroir_api::task::{
    SummarizedTask, TaskFilter, TaskList, TaskListing, TaskView, format_date, format_duration,
};
use miroir_core::id::TaskUid;
use miroir_core::search::{Paging, SearchRequest};
use miroir_core::task::{self as core_task, TaskKind, TaskStatus};
use miroir_engine::engine::{DocumentsQuery, IndexInfo};
use miroir_engine::port::{BatchInfo, BatchPage, TaskPage, TaskQuery, TaskRecord};
use miroir_engine::task_view::shown_index;
pub(crate) use miroir_engine::task_view::task_view;
use serde_json::Value;
use time::OffsetDateTime;

/// Hits on a page when the client names a page but no size.
const HITS_PER_PAGE_DEFAULT: usize = 20;

/// An index as clients see it.
pub(crate) fn index_view(info: IndexInfo) -> IndexView {
    IndexView {
        uid: info.uid.to_string(),
        created_at: format_date(info.created_at),
        updated_at: format_date(info.updated_at),
        primary_key: info.primary_key,
    }
}

/// A search in the engine's words.
pub(crate) fn search_request(query: SearchQuery) -> SearchRequest {
    let paging = if query.page.is_some() || query.hits_per_page.is_some() {
        Paging::Page {
            page: query.page.unwrap_or(1),
            hits_per_page: query.hits_per_page.unwrap_or(HITS_PER_PAGE_DEFAULT),
        }
    } else {
        Paging::Offset {
            offset: query.offset,
            limit: query.limit,
        }
    };
    SearchRequest {
        q: query.q,
        paging,
        filter: query.filter,
        sort: query.sort,
        distinct: query.distinct,
        facets: query.facets,
        attributes_to_retrieve: query.attributes_to_retrieve,
        attributes_to_highlight: query.attributes_to_highlight,
        attributes_to_crop: query.attributes_to_crop,
        show_matches_position: query.show_matches_position,
        show_ranking_score: query.show_ranking_score,
        show_ranking_score_details: query.show_ranking_score_details,
        retrieve_vectors: query.retrieve_vectors,
        ranking_score_threshold: query.ranking_score_threshold,
        hybrid: query.hybrid,
        vector: query.vector,
        media: query.media,
        passthrough: query.passthrough,
    }
}

/// A listing in the engine's words.
pub(crate) fn documents_query(listing: DocumentListing) -> DocumentsQuery {
    DocumentsQuery {
        offset: listing.offset,
        limit: listing.limit,
        fields: listing.fields,
        ids: listing.ids,
        filter: listing.filter,
        sort: listing.sort,
        retrieve_vectors: listing.retrieve_vectors,
    }
}

/// A listing of tasks in the engine's words, of those that the asker may see.
pub(crate) fn task_query(listing: TaskListing, permit: &Permit) -> TaskQuery {
    TaskQuery {
        filter: task_filter(listing.filter, permit),
        from: listing.from.map(TaskUid),
        limit: usize::try_from(listing.limit).unwrap_or(usize::MAX),
        is_reversed: listing.is_reversed,
    }
}

/// A choice among the tasks that the asker may see, in the engine's words.
pub(crate) fn task_filter(filter: TaskFilter, permit: &Permit) -> core_task::TaskFilter {
    let types = |names: Vec<&str>| names.into_iter().filter_map(TaskKind::from_name).collect();
    let statuses = |names: Vec<&str>| {
        names
            .into_iter()
            .filter_map(TaskStatus::from_name)
            .collect()
    };
    let bound = |date: Option<OffsetDateTime>| date.map(unix_nanoseconds);
    core_task::TaskFilter {
        uids: filter.uids,
        batch_uids: filter.batch_uids,
        canceled_by: filter.canceled_by,
        types: filter.types.map(types),
        statuses: filter.statuses.map(statuses),
        index_uids: filter.index_uids,
        index_patterns: permit.task_scope(),
        before_enqueued_at: bound(filter.before_enqueued_at),
        after_enqueued_at: bound(filter.after_enqueued_at),
        before_started_at: bound(filter.before_started_at),
        after_started_at: bound(filter.after_started_at),
        before_finished_at: bound(filter.before_finished_at),
        after_finished_at: bound(filter.after_finished_at),
    }
}

/// Nanoseconds since the Unix epoch; dates beyond what fits (the year 2262) mean "never".
fn unix_nanoseconds(date: OffsetDateTime) -> i64 {
    let nanoseconds = date.unix_timestamp_nanos();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// A task as the answer to a write shows it.
pub(crate) fn summarized_task(task: TaskRecord) -> SummarizedTask {
    SummarizedTask {
        task_uid: task.uid.0,
        index_uid: shown_index(&task),
        status: task.status.as_str(),
        kind: task.operation.kind().as_str(),
        enqueued_at: format_date(task.enqueued_at),
        custom_metadata: task.custom_metadata,
    }
}

/// A page of tasks as it is shown.
pub(crate) fn task_list(page: TaskPage, limit: u32) -> TaskList {
    let results: Vec<TaskView> = page.tasks.into_iter().map(task_view).collect();
    TaskList {
        from: results.first().map(|task| task.uid),
        results,
        total: page.total,
        limit,
        next: page.next.map(|uid| uid.0),
    }
}

/// The one step of a batch that is known here: the nodes' own steps are theirs.
const PROCESSING: &str = "processing tasks";

/// A batch as it is shown.
pub(crate) fn batch_view(batch: BatchInfo) -> BatchView {
    let summary = batch.summary;
    let main_kind = summary.main_kind();
    let statuses = summary.statuses.iter();
    let kinds = summary.kinds.iter();
    let duration = batch.finished_at.map(|end| end - batch.started_at);
    BatchView {
        uid: batch.uid.0,
        progress: batch.finished_at.is_none().then(|| Progress {
            steps: vec![ProgressStep {
                current_step: "applying on the nodes".to_owned(),
                finished: batch.applied_count,
                total: batch.node_count,
            }],
            percentage: percentage(batch.applied_count, batch.node_count),
        }),
        stats: BatchStats {
            total_nb_tasks: summary.task_count,
            status: statuses
                .map(|(status, count)| (status.as_str(), *count))
                .collect(),
            types: kinds.map(|(kind, count)| (kind.as_str(), *count)).collect(),
            index_uids: summary.index_uids.clone(),
            progress_trace: duration
                .and_then(|duration| std::time::Duration::try_from(duration).ok())
                .map(|duration| (PROCESSING, format!("{duration:.2?}")))
                .into_iter()
                .collect(),
        },
        duration: duration.and_then(format_duration),
        started_at: format_date(batch.started_at),
        finished_at: batch.finished_at.map(format_date),
        details: if batch.finished_at.is_some() {
            summary.known_details()
        } else {
            summary.details
        },
        batch_strategy: strategy(main_kind),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nodes are few, and a percentage is shown"
)]
fn percentage(finished: u64, total: u64) -> f32 {
    if total == 0 {
        0.0
    } else {
        finished as f32 / total as f32 * 100.0
    }
}

/// Why no more tasks joined a batch.
fn strategy(kind: Option<TaskKind>) -> String {
    match kind {
        None => "its tasks are out of sight".to_owned(),
        Some(TaskKind::DocumentAdditionOrUpdate) => {
            "it took the waiting additions of one index up to the first that differs in kind, or \
             up to the size that is sent at once"
                .to_owned()
        }
        Some(kind) => format!("a task of type `{}` goes by itself", kind.as_str()),
    }
}

/// A page of batches as it is shown.
pub(crate) fn batch_list(page: BatchPage, limit: u32) -> BatchList {
    let results: Vec<BatchView> = page.batches.into_iter().map(batch_view).collect();
    BatchList {
        from: results.first().map(|batch| batch.uid),
        results,
        total: page.total,
        limit,
        next: page.next.map(|uid| uid.0),
    }
}

/// The details of an operation that are settings, for one name; `null` if it has none.
pub(crate) fn setting_of(mut settings: serde_json::Map<String, Value>, name: &str) -> Value {
    settings.remove(name).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::task::Operation;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn a_page_in_the_query_means_page_mode() {
        let query = SearchQuery {
            hits_per_page: Some(3),
            offset: 7,
            ..SearchQuery::default()
        };
        assert_eq!(
            search_request(query).paging,
            Paging::Page {
                page: 1,
                hits_per_page: 3
            }
        );
        let query = SearchQuery {
            offset: 7,
            ..SearchQuery::default()
        };
        assert_eq!(
            search_request(query).paging,
            Paging::Offset {
                offset: 7,
                limit: 20
            }
        );
    }

    #[test]
    fn a_finished_task_shows_its_duration() {
        let record = TaskRecord {
            uid: TaskUid(4),
            batch_uid: None,
            index_uid: None,
            status: TaskStatus::Succeeded,
            operation: Operation::DeleteAllDocuments,
            inline_payload: None,
            payload: None,
            canceled_by: None,
            details: json!({"deletedDocuments": 2}),
            error: None,
            custom_metadata: Some("mine".into()),
            enqueued_at: datetime!(2026-01-01 00:00:00 UTC),
            started_at: Some(datetime!(2026-01-01 00:00:01 UTC)),
            finished_at: Some(datetime!(2026-01-01 00:00:01.5 UTC)),
        };
        let summary = summarized_task(record.clone());
        assert_eq!((summary.task_uid, summary.kind), (4, "documentDeletion"));
        let view = task_view(record);
        assert_eq!(view.duration.as_deref(), Some("PT0.500S"));
        assert_eq!(view.started_at.as_deref(), Some("2026-01-01T00:00:01Z"));
        assert_eq!(view.custom_metadata.as_deref(), Some("mine"));
    }

    #[test]
    fn dates_beyond_the_clock_mean_never() {
        assert_eq!(unix_nanoseconds(datetime!(9999-01-01 00:00 UTC)), i64::MAX);
        assert_eq!(
            unix_nanoseconds(datetime!(1970-01-01 00:00:01 UTC)),
            1_000_000_000
        );
    }
}

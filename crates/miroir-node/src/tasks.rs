//! A node's task list, asked for and understood.

use crate::request::NodeRequest;
use miroir_core::id::{NodeTaskUid, PhysicalIndex};
use miroir_core::task::{TaskKind, TaskStatus};
use miroir_engine::port::{NodeTask, NodeTaskQuery};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;

/// Uids in one request are kept below this, so that the whole URL stays within the 8 kB that
/// servers and proxies accept for a request line.
const UIDS_BYTES_MAX: usize = 5_500;

/// The requests that answer `query`, in order: the tasks of each are newer than those of the next.
pub(crate) fn requests(query: &NodeTaskQuery) -> Vec<NodeRequest> {
    let get = |uids: Option<&str>| {
        let mut target = format!("/tasks?limit={}", query.limit);
        if let Some(NodeTaskUid(from)) = query.from {
            // Writing to a string cannot fail.
            let _ = write!(target, "&from={from}");
        }
        if let Some(uids) = uids {
            let _ = write!(target, "&uids={uids}");
        }
        NodeRequest::get(target)
    };
    if query.limit == 0 {
        return Vec::new();
    }
    if query.uids.is_empty() {
        return vec![get(None)];
    }
    let mut uids = query.uids.clone();
    uids.sort_unstable_by(|a, b| b.cmp(a));
    uids.dedup();
    let mut requests = Vec::new();
    let mut list = String::new();
    for uid in uids {
        let text = uid.to_string();
        if !list.is_empty() && list.len() + 1 + text.len() > UIDS_BYTES_MAX {
            requests.push(get(Some(&list)));
            list.clear();
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(&text);
    }
    requests.push(get(Some(&list)));
    requests
}

#[derive(Deserialize)]
struct WirePage {
    results: Vec<WireTask>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTask {
    uid: u64,
    index_uid: Option<String>,
    status: String,
    #[serde(rename = "type")]
    kind: String,
    error: Option<Value>,
    details: Option<Value>,
    custom_metadata: Option<String>,
    enqueued_at: String,
}

/// The tasks of an answer, or why it is none.
pub(crate) fn parse(body: &[u8]) -> Result<Vec<NodeTask>, String> {
    let page: WirePage = serde_json::from_slice(body).map_err(|e| format!("no task list ({e})"))?;
    page.results.into_iter().map(convert).collect()
}

fn convert(task: WireTask) -> Result<NodeTask, String> {
    let status = TaskStatus::from_name(&task.status)
        .ok_or_else(|| format!("task {} has the unknown status `{}`", task.uid, task.status))?;
    Ok(NodeTask {
        uid: NodeTaskUid(task.uid),
        index: task.index_uid.map(PhysicalIndex::from_stored),
        kind: TaskKind::from_name(&task.kind),
        status,
        error: task.error,
        details: task.details,
        marker: task.custom_metadata,
        enqueued_at: task.enqueued_at,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSummary {
    task_uid: u64,
}

/// The uid of the task that a write became, or why the answer names none.
pub(crate) fn parse_summary(body: &[u8]) -> Result<NodeTaskUid, String> {
    let summary: WireSummary =
        serde_json::from_slice(body).map_err(|e| format!("no task summary ({e})"))?;
    Ok(NodeTaskUid(summary.task_uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_uids_are_asked_for_in_several_short_urls_newest_first() {
        let uids: Vec<NodeTaskUid> = (1_000_000..1_002_000).map(NodeTaskUid).collect();
        let query = NodeTaskQuery {
            uids,
            from: Some(NodeTaskUid(1_001_999)),
            limit: 2_000,
        };
        let requests = requests(&query);
        assert!(requests.len() > 1);
        let mut seen = Vec::new();
        for request in &requests {
            assert!(request.target.len() < 6_000, "{}", request.target.len());
            assert!(
                request
                    .target
                    .starts_with("/tasks?limit=2000&from=1001999&uids=")
            );
            let (_, uids) = request.target.split_once("uids=").unwrap();
            seen.extend(uids.split(',').map(|uid| uid.parse::<u64>().unwrap()));
        }
        let expected: Vec<u64> = (1_000_000..1_002_000).rev().collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_query_for_nothing_sends_nothing() {
        assert!(requests(&NodeTaskQuery::default()).is_empty());
    }
}

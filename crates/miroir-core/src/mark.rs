//! Marks: what Miroir writes on its requests, so that a node's task list tells which it has.
//!
//! ```text
//! miroir/<cluster>/<batch>/<request>[/<task>]@<origin>:<index>
//! └────────── the key ─────────────────────┘└───── the note ─┘
//! ```
//! The key names the request; a lane that looks for its place compares keys. The note is for the day
//! on which the store is lost: the task (or `copy`) that the request was made for, and the name the
//! index had then. Both are functions of the batch's plan alone.
//!
//! Law: what is written is read back. Marks of older versions have no note and are read, too.

use crate::id::{BatchUid, IndexUid, TaskUid};

/// What the key of every mark begins with.
const PREFIX: &str = "miroir/";
const NOTE: char = '@';
const COPY: &str = "copy";

/// What a request was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client's write; of several the last.
    Task(TaskUid),
    /// A copy from another replica.
    Copy,
}

/// A mark as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The cluster that sent the request.
    pub cluster: &'a str,
    /// The batch it belongs to.
    pub batch: BatchUid,
    /// What it was made for, if the mark tells.
    pub origin: Option<Origin>,
    /// The client's name of the index when it was made, if the mark tells.
    pub index: Option<IndexUid>,
    /// The task it was delivered apart for, if it was.
    pub only: Option<TaskUid>,
}

/// The key of one request.
#[must_use]
pub fn key(cluster: &str, batch: BatchUid, request_idx: usize, only: Option<TaskUid>) -> String {
    match only {
        None => format!("{PREFIX}{cluster}/{batch}/{request_idx}"),
        Some(task) => format!("{PREFIX}{cluster}/{batch}/{request_idx}/{task}"),
    }
}

/// The note that follows the key.
#[must_use]
pub fn note(origin: Origin, index: &IndexUid) -> String {
    match origin {
        Origin::Task(task) => format!("{NOTE}{task}:{index}"),
        Origin::Copy => format!("{NOTE}{COPY}:{index}"),
    }
}

/// The key alone.
///
/// ```
/// use miroir_core::mark::key_of;
/// assert_eq!(key_of("miroir/c/7/0@12:movies"), "miroir/c/7/0");
/// assert_eq!(key_of("miroir/c/7/0"), "miroir/c/7/0");
/// ```
#[must_use]
pub fn key_of(mark: &str) -> &str {
    mark.split(NOTE).next().unwrap_or(mark)
}

/// What a mark says; `None` for a text that is none.
#[must_use]
pub fn parse(mark: &str) -> Option<Mark<'_>> {
    let key = key_of(mark);
    let mut parts = key.strip_prefix(PREFIX)?.split('/');
    let cluster = parts.next().filter(|cluster| !cluster.is_empty())?;
    let batch = BatchUid(parts.next()?.parse().ok()?);
    let _request: u64 = parts.next()?.parse().ok()?;
    let only = parts.next().and_then(|text| text.parse().ok()).map(TaskUid);
    let note = mark.get(key.len() + NOTE.len_utf8()..).unwrap_or_default();
    let (origin, index) = match note.split_once(':') {
        Some((COPY, index)) => (Some(Origin::Copy), IndexUid::new(index).ok()),
        Some((task, index)) => (
            task.parse().ok().map(|task| Origin::Task(TaskUid(task))),
            IndexUid::new(index).ok(),
        ),
        None => (None, None),
    };
    Some(Mark {
        cluster,
        batch,
        origin,
        index,
        only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_of_older_versions_are_read() {
        let mark = parse("miroir/c/7/1/9").unwrap();
        assert_eq!((mark.cluster, mark.batch), ("c", BatchUid(7)));
        assert_eq!((mark.origin, mark.index), (None, None));
        assert_eq!(mark.only, Some(TaskUid(9)));
    }

    #[test]
    fn what_others_write_is_no_mark() {
        for text in [
            "",
            "miroir",
            "miroir/",
            "miroir/c",
            "miroir/c/x/0",
            "miroir//1/0",
            "a@b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        // A note that is none of ours spoils nothing.
        assert_eq!(parse("miroir/c/7/1@").unwrap().origin, None);
        assert_eq!(parse("miroir/c/7/1@x:a b").unwrap().index, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            batch in any::<u64>(), request in 0usize..9, task in any::<u64>(),
            is_copy in any::<bool>(), only in proptest::option::of(any::<u64>()),
            name in "[a-zA-Z0-9_-]{1,20}",
        ) {
            let origin = if is_copy { Origin::Copy } else { Origin::Task(TaskUid(task)) };
            let index = IndexUid::new(name).unwrap();
            let key = key("c0ffee", BatchUid(batch), request, only.map(TaskUid));
            let text = format!("{key}{}", note(origin, &index));
            prop_assert_eq!(key_of(&text), key.as_str());
            let mark = parse(&text).unwrap();
            prop_assert_eq!(mark.cluster, "c0ffee");
            prop_assert_eq!(mark.batch, BatchUid(batch));
            prop_assert_eq!(mark.origin, Some(origin));
            prop_assert_eq!(mark.index, Some(index));
            prop_assert_eq!(mark.only, only.map(TaskUid));
        }
    }
}

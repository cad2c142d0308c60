//! Which waiting tasks are processed together. Pure: it decides, it does nothing.
//!
//! Additions, updates and deletions by id of one index share one transaction of the engine, which
//! is what makes many small writes bearable. A clear makes the additions before it needless, the
//! deletion of the index everything before it. All else stands alone.

use crate::store::IndexRow;
use crate::task::{QueuedTask, TaskUid, Work};

/// Most tasks of one batch; each addition is one mapped file, and Linux allows 65,530 mappings.
pub(crate) const BATCH_TASKS_MAX: usize = 10_000;
/// Most payload bytes of one batch (a single larger task still goes, alone), so that indexing
/// stays within the memory of a small machine.
const BATCH_BYTES_MAX: u64 = 256 << 20;

/// What the batch is, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchKind {
    /// Additions, updates and deletions by id, in order.
    Documents,
    /// Ends in the deletion of all documents.
    Clear,
    /// Ends in the deletion of the index.
    IndexDeletion,
    /// Any number of deletions of tasks.
    TaskDeletions,
    /// One task of another kind.
    Alone,
}

/// What joining tasks depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexFacts {
    exists: bool,
    primary_key: Option<String>,
}

impl IndexFacts {
    pub(crate) fn of(index: Option<&IndexRow>) -> Self {
        Self {
            exists: index.is_some(),
            primary_key: index.and_then(|index| index.primary_key.clone()),
        }
    }
}

/// Tasks processed together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) kind: BatchKind,
    /// In order of submission, never empty.
    pub(crate) tasks: Vec<QueuedTask>,
    /// Why no more tasks joined, for people.
    pub(crate) strategy: &'static str,
    facts: IndexFacts,
    bytes: u64,
    /// What the first addition asked for; those that join ask for the same.
    terms: Option<Terms>,
    closed: bool,
}

/// What additions must agree on to share a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    primary_key: Option<String>,
    allow_creation: bool,
}

impl Batch {
    /// One task by itself.
    pub(crate) fn alone(task: QueuedTask) -> Self {
        Self {
            kind: BatchKind::Alone,
            tasks: vec![task],
            strategy: "this kind of task is processed alone",
            facts: IndexFacts::of(None),
            bytes: 0,
            terms: None,
            closed: true,
        }
    }

    pub(crate) fn task_deletions(tasks: Vec<QueuedTask>) -> Self {
        let Some(first) = tasks.first().cloned() else {
            unreachable!("the caller has found at least one deletion")
        };
        Self {
            kind: BatchKind::TaskDeletions,
            strategy: "all deletions of tasks are processed together",
            tasks,
            ..Self::alone(first)
        }
    }

    /// A batch of an index that begins with `first` and may take more.
    pub(crate) fn open(first: QueuedTask, facts: IndexFacts) -> Self {
        let kind = match first.work {
            Work::Documents { .. } | Work::DeleteByIds { .. } => BatchKind::Documents,
            Work::DeleteAll => BatchKind::Clear,
            Work::IndexDeletion => BatchKind::IndexDeletion,
            _ => return Self::alone(first),
        };
        let mut batch = Self {
            kind,
            tasks: Vec::new(),
            strategy: "no other task of this index was waiting",
            facts,
            bytes: 0,
            terms: None,
            closed: false,
        };
        batch.take_terms(&first.work);
        // A key other than the index's makes the task fail; it must not take others with it.
        if let Some(Terms {
            primary_key: Some(asked),
            ..
        }) = &batch.terms
            && batch
                .facts
                .primary_key
                .as_ref()
                .is_some_and(|present| present != asked)
        {
            batch.close("its primary key is not that of the index");
        }
        if kind == BatchKind::IndexDeletion {
            batch.close("the index is deleted");
        }
        batch.tasks.push(first);
        batch
    }

    pub(crate) fn first_uid(&self) -> TaskUid {
        self.tasks.first().map_or(0, |task| task.uid)
    }

    pub(crate) fn uids(&self) -> Vec<TaskUid> {
        self.tasks.iter().map(|task| task.uid).collect()
    }

    /// Takes the next task of the index if it may join; `false` ends the batch.
    pub(crate) fn push(&mut self, task: QueuedTask) -> bool {
        if self.closed {
            return false;
        }
        if self.tasks.len() >= BATCH_TASKS_MAX {
            return self.close("the batch holds as many tasks as it may");
        }
        let joins = match &task.work {
            Work::IndexDeletion => {
                self.kind = BatchKind::IndexDeletion;
                self.close("the index is deleted");
                true
            }
            Work::DeleteAll => {
                self.kind = BatchKind::Clear;
                true
            }
            Work::Documents { .. } | Work::DeleteByIds { .. } => self.admits(&task.work),
            _ => self.close("the next task is of another kind"),
        };
        if joins {
            self.take_terms(&task.work);
            self.tasks.push(task);
        }
        joins
    }

    fn admits(&mut self, work: &Work) -> bool {
        if self.kind != BatchKind::Documents {
            return self.close("the next task is of another kind");
        }
        let Work::Documents { bytes, .. } = work else {
            return true;
        };
        let Some(terms) = terms_of(work) else {
            return true;
        };
        if self.bytes.saturating_add(*bytes) > BATCH_BYTES_MAX {
            return self.close("the payloads of the batch are as large as they may be");
        }
        match &self.terms {
            // Deletions before the addition that creates the index have to fail by themselves.
            None if !self.facts.exists => self.close("the next task creates the index"),
            None => self.agrees_with_index(&terms),
            Some(own) if own.allow_creation != terms.allow_creation && !self.facts.exists => {
                self.close("the next task has another right to create the index")
            }
            Some(own) if own.primary_key == terms.primary_key => true,
            // Two ways to say the key the index has already.
            Some(_) if self.facts.primary_key.is_some() => self.agrees_with_index(&terms),
            Some(_) => self.close("the next task names another primary key"),
        }
    }

    fn agrees_with_index(&mut self, terms: &Terms) -> bool {
        match (&self.facts.primary_key, &terms.primary_key) {
            (Some(present), Some(asked)) if present != asked => {
                self.close("the next task names another primary key")
            }
            _ => true,
        }
    }

    fn take_terms(&mut self, work: &Work) {
        if let Work::Documents { bytes, .. } = work {
            self.bytes = self.bytes.saturating_add(*bytes);
            self.terms = self.terms.take().or_else(|| terms_of(work));
        }
    }

    fn close(&mut self, strategy: &'static str) -> bool {
        self.closed = true;
        self.strategy = strategy;
        false
    }
}

fn terms_of(work: &Work) -> Option<Terms> {
    match work {
        Work::Documents {
            primary_key,
            allow_creation,
            ..
        } => Some(Terms {
            primary_key: primary_key.clone(),
            allow_creation: *allow_creation,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Method;

    fn addition(primary_key: Option<&str>) -> Work {
        Work::Documents {
            method: Method::Replace,
            file: "file".to_owned(),
            documents: 1,
            bytes: 100 << 20,
            primary_key: primary_key.map(str::to_owned),
            skip_creation: false,
            allow_creation: true,
        }
    }

    fn deletion() -> Work {
        Work::DeleteByIds {
            ids: vec!["1".to_owned()],
        }
    }

    fn settings() -> Work {
        Work::Settings {
            patch: serde_json::Map::new(),
            is_deletion: false,
            allow_creation: true,
        }
    }

    fn facts(exists: bool, primary_key: Option<&str>) -> IndexFacts {
        IndexFacts {
            exists,
            primary_key: primary_key.map(str::to_owned),
        }
    }

    /// Kind and length of the first batch of these works.
    fn check(facts: IndexFacts, works: Vec<Work>, expected: (BatchKind, usize)) {
        let mut tasks = works.into_iter().zip(0..).map(|(work, uid)| QueuedTask {
            uid,
            index_uid: Some("a".to_owned()),
            work,
        });
        let mut batch = Batch::open(tasks.next().unwrap(), facts);
        for task in tasks {
            if !batch.push(task) {
                break;
            }
        }
        assert_eq!((batch.kind, batch.tasks.len()), expected);
    }

    #[test]
    fn additions_and_deletions_by_id_go_together() {
        let works = vec![
            deletion(),
            addition(None),
            deletion(),
            settings(),
            addition(None),
        ];
        check(facts(true, None), works, (BatchKind::Documents, 3));
    }

    #[test]
    fn settings_stand_alone() {
        check(
            facts(true, None),
            vec![settings(), settings()],
            (BatchKind::Alone, 1),
        );
    }

    #[test]
    fn a_clear_takes_what_was_added_before_and_nothing_added_after() {
        let works = vec![
            addition(None),
            Work::DeleteAll,
            Work::DeleteAll,
            addition(None),
        ];
        check(facts(true, None), works, (BatchKind::Clear, 3));
    }

    #[test]
    fn the_deletion_of_an_index_takes_all_document_tasks_before_it() {
        let works = vec![
            addition(None),
            deletion(),
            Work::IndexDeletion,
            addition(None),
        ];
        check(facts(true, None), works, (BatchKind::IndexDeletion, 3));
    }

    #[test]
    fn another_primary_key_splits() {
        let works = vec![
            addition(Some("id")),
            addition(Some("id")),
            addition(Some("key")),
        ];
        check(facts(false, None), works, (BatchKind::Documents, 2));
        let works = vec![addition(Some("key")), addition(None)];
        check(facts(true, Some("id")), works, (BatchKind::Documents, 1));
        let works = vec![addition(Some("id")), addition(None)];
        check(facts(true, Some("id")), works, (BatchKind::Documents, 2));
    }

    #[test]
    fn deletions_do_not_join_the_addition_that_creates_their_index() {
        let works = vec![deletion(), deletion(), addition(None)];
        check(facts(false, None), works, (BatchKind::Documents, 2));
    }

    #[test]
    fn payload_bytes_are_bounded() {
        let works = vec![addition(None), addition(None), addition(None)];
        check(facts(true, None), works, (BatchKind::Documents, 2));
    }
}

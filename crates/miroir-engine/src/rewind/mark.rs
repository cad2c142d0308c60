//! What a rewind writes, step by step; how its tasks are marked, so that after a crash the log itself
//! tells how far it is; and the order that the marks must have.

use miroir_core::id::TaskUid;
use serde::{Deserialize, Serialize};

/// One write of a rewind. The stored form is part of the database format, and so are its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
pub(super) enum Step {
    /// The index is made.
    Create,
    /// It gets the settings of the dump.
    Settings,
    /// It gets the documents of the dump that stand between these bytes of their file.
    Documents { from: u64, to: u64 },
    /// A task of the log is carried out again.
    Task { task: TaskUid },
    /// The index gets its name.
    Name,
    /// What was built is removed.
    Remove,
}

const PREFIX: &str = "miroir rewind ";

/// What the task of a step shows as `customMetadata`.
pub(super) fn mark(id: u64, step: Step) -> String {
    let step = match step {
        Step::Create => "create".to_owned(),
        Step::Settings => "settings".to_owned(),
        Step::Documents { from, to } => format!("documents {from}-{to}"),
        Step::Task { task } => format!("task {task}"),
        Step::Name => "name".to_owned(),
        Step::Remove => "remove".to_owned(),
    };
    format!("{PREFIX}{id} {step}")
}

/// The step that a task was of this rewind; `None` if it is of none.
pub(super) fn read(id: u64, mark: Option<&str>) -> Option<Step> {
    let (of, step) = mark?.strip_prefix(PREFIX)?.split_once(' ')?;
    if of.parse() != Ok(id) {
        return None;
    }
    Some(match step.split_once(' ') {
        None => match step {
            "create" => Step::Create,
            "settings" => Step::Settings,
            "name" => Step::Name,
            "remove" => Step::Remove,
            _ => return None,
        },
        Some(("task", task)) => Step::Task {
            task: TaskUid(task.parse().ok()?),
        },
        Some(("documents", range)) => {
            let (from, to) = range.split_once('-')?;
            Step::Documents {
                from: from.parse().ok()?,
                to: to.parse().ok()?,
            }
        }
        Some(_) => return None,
    })
}

/// How far a building is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Nothing was written.
    Start,
    /// The index is made; the settings of its dump are next.
    Created,
    /// The documents of the dump up to this byte.
    Documents(u64),
    /// So many of the tasks.
    Tasks(usize),
}

/// Where a building stands, and which write may be next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor<'a> {
    pub(super) at: At,
    has_dump: bool,
    tasks: &'a [TaskUid],
}

impl<'a> Cursor<'a> {
    /// Before the first write.
    pub(super) fn new(has_dump: bool, tasks: &'a [TaskUid]) -> Self {
        Self {
            at: At::Start,
            has_dump,
            tasks,
        }
    }

    /// Where it stands after this write; `None` if the write cannot be the next one.
    pub(super) fn after(self, step: Step) -> Option<Self> {
        let at = match (self.at, step) {
            (At::Start, Step::Create) if self.has_dump => At::Created,
            (At::Start, Step::Create) => At::Tasks(0),
            (At::Created, Step::Settings) => At::Documents(0),
            (At::Documents(so_far), Step::Documents { from, to }) if so_far == from => {
                At::Documents(to)
            }
            (At::Documents(_), Step::Task { task }) => self.task(0, task)?,
            (At::Tasks(count), Step::Task { task }) => self.task(count, task)?,
            _ => return None,
        };
        Some(Self { at, ..self })
    }

    fn task(&self, at: usize, task: TaskUid) -> Option<At> {
        (self.tasks.get(at) == Some(&task)).then_some(At::Tasks(at + 1))
    }

    /// Whether no mark is missing behind it: the write that was about to be registered last is the one
    /// before it, or the one that would be next.
    pub(super) fn agrees_with(self, last: Option<Step>, intent: Option<Step>) -> bool {
        match intent {
            None => last.is_none(),
            Some(intent) => last == Some(intent) || self.after(intent).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Create),
            Just(Step::Settings),
            (any::<u64>(), any::<u64>()).prop_map(|(from, to)| Step::Documents { from, to }),
            any::<u64>().prop_map(|task| Step::Task {
                task: TaskUid(task)
            }),
            Just(Step::Name),
            Just(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn a_mark_is_read_as_it_was_written(id: u64, other: u64, step in steps()) {
            let text = mark(id, step);
            prop_assert_eq!(read(id, Some(&text)), Some(step));
            prop_assert_eq!(read(other, Some(&text)).is_some(), other == id);
        }

        #[test]
        fn what_clients_write_is_no_panic(text: String) {
            let _ = read(1, Some(&text));
            let _ = read(1, Some(&format!("{PREFIX}1 {text}")));
        }
    }

    #[test]
    fn a_building_goes_one_way() {
        let tasks = [TaskUid(5), TaskUid(7)];
        let all = [
            Step::Create,
            Step::Settings,
            Step::Documents { from: 0, to: 10 },
            Step::Documents { from: 10, to: 12 },
            Step::Task { task: TaskUid(5) },
            Step::Task { task: TaskUid(7) },
        ];
        let mut cursor = Cursor::new(true, &tasks);
        for (done, next) in all.iter().enumerate() {
            for other in &all {
                // Documents may have ended at any piece.
                let ends_documents = matches!(cursor.at, At::Documents(_)) && *other == all[4];
                assert_eq!(
                    cursor.after(*other).is_some(),
                    other == next || ends_documents,
                    "{other:?} after {done}"
                );
            }
            let last = done.checked_sub(1).map(|at| all[at]);
            assert!(cursor.agrees_with(last, Some(*next)));
            assert!(cursor.agrees_with(last, last));
            cursor = cursor.after(*next).unwrap();
        }
        assert_eq!(cursor.at, At::Tasks(2));
        // The mark of the last task is gone, or that of the one before it.
        let gone = Cursor::new(true, &tasks).after(Step::Create).unwrap();
        assert!(!gone.agrees_with(Some(Step::Create), Some(all[3])));
        assert!(!Cursor::new(false, &tasks).agrees_with(None, Some(all[4])));
        let without = Cursor::new(false, &tasks).after(Step::Create).unwrap();
        assert_eq!(without.at, At::Tasks(0));
    }
}

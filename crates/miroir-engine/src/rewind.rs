//! An index as it was at a task: its history is carried out again from the log, as ordinary writes,
//! into a new index; on top of a dump of this instance where the log does not reach back to the
//! creation of the index.
//!
//! ```text
//!            all of it is there          named
//!  building ───────────────────► naming ───────► ended
//!     │ failed, cancelled          │ failed        ▲
//!     └──────────► removing ◄──────┘               │
//!                     └────────────────────────────┘
//! ```
//! Laws:
//! - The history begins with the task that made the index, or behind the task that wrote the dump, and
//!   not one task between it and the last one wanted is missing from the log; else the rewind is
//!   refused before anything is written.
//! - The index appears under its name when it is whole, never before (it is built under another); what
//!   was not finished is removed.
//! - A rewind is stored, and its tasks are marked: a process that starts goes on where the last one
//!   died, and no write is made twice.

mod dump;
mod mark;
mod plan;
mod record;
mod worker;

pub(crate) use record::RewindBoard;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::TaskQuery;
use dump::OwnDump;
use miroir_api::admin;
use miroir_core::id::{IndexUid, TaskUid};
use plan::Plan;
use record::{BUILDING_SUFFIX, Base, End, Record, Stage};
use std::path::PathBuf;
use time::format_description::well_known::Rfc3339;

/// An index to be rewound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The index, by the name it had at that task.
    pub index: IndexUid,
    /// The last task whose effect is wanted.
    pub to: TaskUid,
    /// The name of the index to build, which is free.
    pub new: IndexUid,
    /// A dump to begin with; `None` takes the log, or the newest dump that serves.
    pub dump: Option<PathBuf>,
}

fn refused(message: String) -> EngineError {
    EngineError::Client {
        code: "bad_request",
        message,
    }
}

impl Engine {
    /// What a rewind would do. Nothing is written.
    ///
    /// # Errors
    /// As [`Engine::rewind`].
    pub async fn rewind_plan(&self, wish: &Wish) -> Result<admin::RewindPlan, EngineError> {
        let plan = self.plan_rewind(wish).await?;
        Ok(admin::RewindPlan {
            index_uid: wish.index.to_string(),
            to_task: wish.to.0,
            new_uid: wish.new.to_string(),
            from_task: plan.base.task().0,
            from_dump: plan.base.dump_uid().map(str::to_owned),
            tasks_total: plan.steps.len() as u64,
            payload_bytes: plan.bytes,
        })
    }

    /// Begins to build an index as it was at a task, under a new name.
    ///
    /// # Errors
    /// [`EngineError::Client`] if neither the log nor a dump holds its history, or the name is taken;
    /// then nothing was written.
    pub async fn rewind(&self, wish: &Wish) -> Result<admin::Rewind, EngineError> {
        let plan = self.plan_rewind(wish).await?;
        let shared = self.shared();
        let newest = TaskQuery {
            limit: 1,
            ..TaskQuery::default()
        };
        let newest = self.tasks(newest).await?.tasks;
        let record = Record {
            id: 0,
            index_uid: wish.index.to_string(),
            to_task: wish.to,
            new_uid: wish.new.to_string(),
            tasks_total: plan.steps.len() as u64,
            base: plan.base,
            begun_behind: newest.first().map_or(wish.to, |task| task.uid),
            stage: Stage::Building,
            intent: None,
            tasks_done: 0,
            documents: 0,
            started_at: self.now_text(),
            finished_at: None,
            error: None,
        };
        let id = shared.rewinds.begin(shared, record).await?;
        shared.step("rewind.begun").await;
        self.spawn(worker::drive(self.clone(), id));
        self.rewinding(id).ok_or(EngineError::ShuttingDown)
    }

    /// How far a rewind is; `None` if it is not known (any more).
    #[must_use]
    pub fn rewinding(&self, id: u64) -> Option<admin::Rewind> {
        let board = &self.shared().rewinds;
        board.get(id).map(|record| board.show(&record))
    }

    /// All rewinds under way, and the last that ended; oldest first.
    #[must_use]
    pub fn rewinds(&self) -> Vec<admin::Rewind> {
        let board = &self.shared().rewinds;
        let all = board.all();
        all.iter().map(|record| board.show(record)).collect()
    }

    /// Takes a rewind back that is not named yet: what was built is removed.
    ///
    /// # Errors
    /// [`EngineError::Client`] if there is none, or it is too late; otherwise the store failed.
    pub async fn cancel_rewind(&self, id: u64) -> Result<admin::Rewind, EngineError> {
        let shared = self.shared();
        let Some(record) = shared.rewinds.get(id) else {
            return Err(refused(format!("There is no rewind {id}.")));
        };
        let change = |record: &mut Record| {
            let is_building = record.stage == Stage::Building;
            record.stage = Stage::Removing {
                then: End::Cancelled,
            };
            is_building
        };
        let changed = shared.rewinds.change(shared, id, change).await?;
        if changed.is_none() && !matches!(record.stage, Stage::Removing { .. }) {
            return Err(refused(format!(
                "Rewind {id} cannot be cancelled: it has ended, or is just getting its name."
            )));
        }
        self.rewinding(id).ok_or(EngineError::ShuttingDown)
    }

    /// Goes on with what an earlier process left.
    pub(crate) fn resume_rewinds(&self) {
        for id in self.shared().rewinds.open() {
            self.spawn(worker::drive(self.clone(), id));
        }
    }

    fn now_text(&self) -> String {
        let now = self.shared().ports.clock.now();
        now.format(&Rfc3339).unwrap_or_default()
    }

    async fn plan_rewind(&self, wish: &Wish) -> Result<Plan, EngineError> {
        let Wish { index, to, new, .. } = wish;
        let shared = self.shared();
        if self.index(new).is_ok() {
            return Err(EngineError::Client {
                code: "index_already_exists",
                message: format!("Index `{new}` already exists."),
            });
        }
        let building = IndexUid::new(format!("{new}{BUILDING_SUFFIX}"))
            .map_err(|_| refused(format!("`{new}` is too long a name.")))?;
        let is_under_way = |one: &Record| !one.is_over() && one.new_uid == new.as_str();
        if let Some(other) = shared.rewinds.all().into_iter().find(is_under_way) {
            let text = format!("Rewind {} into `{new}` is under way.", other.id);
            return Err(refused(text));
        }
        if self.index(&building).is_ok() {
            return Err(refused(format!(
                "Index `{building}` exists, and this is the name under which `{new}` would be \
                 built: remove it, or choose another name."
            )));
        }
        let store = &*shared.ports.store;
        plan::check_known(store, *to).await?;
        if let Some(file) = &wish.dump {
            let dump = dump::named(shared, file.clone()).await?;
            return self.plan_from(&dump, index, *to).await;
        }
        let error = match plan::from_creation(store, index, *to).await {
            Err(error @ EngineError::Client { .. }) => error,
            result => return result,
        };
        // The log alone does not tell it. A newer dump needs less of the log.
        let mut why = None;
        for dump in dump::candidates(shared, *to).await? {
            match self.plan_from_folder(&dump, index, *to).await {
                Ok(Some(plan)) => return Ok(plan),
                Ok(None) => {}
                Err(EngineError::Client { message, .. }) => {
                    why.get_or_insert(format!(" From the dump {} neither: {message}", dump.uid));
                }
                Err(error) => return Err(error),
            }
        }
        match error {
            EngineError::Client { code, message } => Err(EngineError::Client {
                code,
                message: message + &why.unwrap_or_default(),
            }),
            error => Err(error),
        }
    }

    async fn plan_from_folder(
        &self,
        dump: &OwnDump,
        index: &IndexUid,
        to: TaskUid,
    ) -> Result<Option<Plan>, EngineError> {
        match dump::is_there(self.shared(), dump).await? {
            true => self.plan_from(dump, index, to).await.map(Some),
            false => Ok(None),
        }
    }

    async fn plan_from(
        &self,
        dump: &OwnDump,
        index: &IndexUid,
        to: TaskUid,
    ) -> Result<Plan, EngineError> {
        if dump.task > to {
            return Err(refused(format!(
                "The dump {} holds what came before task {}, which wrote it: an index as it was at \
                 task {to} needs an older one.",
                dump.uid, dump.task
            )));
        }
        let shared = self.shared();
        let store = &*shared.ports.store;
        let name = plan::name_then(store, index, to, dump.task).await?;
        let base: Option<Base> = dump.base(shared, &name).await?;
        plan::from_dump(store, index, dump.task, base, to).await
    }
}

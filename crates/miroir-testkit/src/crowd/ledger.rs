//! One index, as its only writer knows it: what was written, what is known to have ended, and so what
//! a reader may see.
//!
//! Writes are numbered from 1. A read that began when `from` of them were known to have ended, and
//! ended when `to` of them had been begun, may show of each document what write `from` left, or what
//! any write up to `to` made of it: shards are written one by one.

use crate::{Client, Model, Outcome, PATIENCE, Write, poll, send_write};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What there is of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    /// Made, without settings.
    Bare,
    Ready,
}

/// The writes that a read may have seen or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What changed, by the number of the write that changed it.
type Versions<T> = Vec<(u64, T)>;

/// What is known of one index.
#[derive(Debug)]
pub struct Ledger {
    /// Its name.
    pub name: String,
    model: Model,
    /// The model before the write under way.
    before: Option<Model>,
    documents: BTreeMap<u64, Versions<Option<Value>>>,
    states: Versions<State>,
    /// The one setting that is changed again and again, with its name.
    setting: (&'static str, Value),
    settings: Versions<Value>,
    /// What was accepted, and what is being sent, in order.
    writes: Vec<Write>,
    drops: Vec<u64>,
    /// The tasks of the writes, in their order.
    uids: Vec<u64>,
    ended: u64,
    unknown: u64,
}

impl Ledger {
    /// The setting is given with its default.
    pub(crate) fn new(name: String, setting: (&'static str, Value)) -> Self {
        let settings = vec![(0, setting.1.clone())];
        Self {
            name,
            model: Model::default(),
            before: None,
            documents: BTreeMap::new(),
            states: vec![(0, State::Absent)],
            setting,
            settings,
            writes: Vec::new(),
            drops: Vec::new(),
            uids: Vec::new(),
            ended: 0,
            unknown: 0,
        }
    }

    /// In one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{}: {} writes accepted, {} of them without an answer at first; {} known to have ended",
            self.name,
            self.uids.len(),
            self.unknown,
            self.ended
        )
    }

    pub(crate) fn state(&self) -> State {
        self.states
            .last()
            .map_or(State::Absent, |(_, state)| *state)
    }

    /// The number that the next write has.
    pub(crate) fn next_number(&self) -> u64 {
        self.uids.len() as u64 + 1
    }

    /// How many writes were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.uids.len() as u64
    }

    pub(crate) fn unfinished(&self) -> u64 {
        self.accepted() - self.ended
    }

    pub(crate) fn last_uid(&self) -> Option<u64> {
        self.uids.last().copied()
    }

    /// A write is about to be sent: from now on it may be seen.
    pub(crate) fn begin(&mut self, write: &Write) {
        let number = self.next_number();
        let before = self.model.clone();
        self.model.apply(write);
        let empty = BTreeMap::new();
        let old = before.documents().unwrap_or(&empty);
        let new = self.model.documents().unwrap_or(&empty);
        for id in old.keys().chain(new.keys()) {
            let (left, right) = (old.get(id), new.get(id));
            if left != right {
                let versions = self.documents.entry(*id).or_default();
                if versions.last().is_none_or(|(last, _)| *last != number) {
                    versions.push((number, right.cloned()));
                }
            }
        }
        match write {
            Write::Create => self.states.push((number, State::Bare)),
            Write::Drop => {
                self.states.push((number, State::Absent));
                self.settings.push((number, self.setting.1.clone()));
                self.drops.push(number);
            }
            Write::Settings(settings) => {
                self.states.push((number, State::Ready));
                if let Some(value) = settings.get(self.setting.0) {
                    self.settings.push((number, value.clone()));
                }
            }
            _ => {}
        }
        self.writes.push(write.clone());
        self.before = Some(before);
    }

    /// It was accepted, as this task.
    ///
    /// # Errors
    /// Tasks do not come in order.
    pub(crate) fn accept(&mut self, uid: u64) -> Result<()> {
        self.before = None;
        let last = self.last_uid();
        self.uids.push(uid);
        ensure!(last < Some(uid), "{}: task {uid} after {last:?}", self.name);
        Ok(())
    }

    /// It had no answer and was found to be accepted.
    pub(crate) fn note_unknown(&mut self) {
        self.unknown += 1;
    }

    /// It was not accepted, and nobody can have seen it.
    pub(crate) fn retract(&mut self) {
        let number = self.next_number();
        if let Some(before) = self.before.take() {
            self.writes.pop();
            self.model = before;
        }
        for versions in self.documents.values_mut() {
            versions.retain(|(at, _)| *at != number);
        }
        self.states.retain(|(at, _)| *at != number);
        self.settings.retain(|(at, _)| *at != number);
        self.drops.retain(|at| *at != number);
    }

    /// All but the tasks from this one on were seen ended, when `accepted` had been accepted.
    pub(crate) fn note_ended(&mut self, accepted: u64, oldest_open: Option<u64>) {
        let ended = match oldest_open {
            None => accepted,
            Some(oldest) => self.uids.partition_point(|uid| *uid < oldest) as u64,
        };
        self.ended = self.ended.max(ended.min(accepted));
    }

    /// A read begins. It is closed by [`Self::close`].
    pub(crate) fn open(&self) -> u64 {
        self.ended
    }

    pub(crate) fn close(&self, from: u64) -> Window {
        let to = self.accepted() + u64::from(self.before.is_some());
        Window { from, to }
    }

    fn visible<T>(versions: &Versions<T>, window: Window) -> impl Iterator<Item = &T> {
        let first = versions.partition_point(|(at, _)| *at <= window.from);
        versions[first.saturating_sub(1)..]
            .iter()
            .filter(move |(at, _)| *at <= window.to)
            .map(|(_, value)| value)
    }

    pub(crate) fn may_be(&self, state: State, window: Window) -> bool {
        Self::visible(&self.states, window).any(|seen| *seen == state)
    }

    /// An index is being removed: what was under way before need not be carried out any more.
    fn is_rough(&self, window: Window) -> bool {
        let mut drops = self.drops.iter();
        drops.any(|at| window.from < *at && *at <= window.to)
    }

    /// What a document may be, where it may not be there as `None`.
    fn versions_of(&self, id: u64, window: Window) -> Vec<Option<&Value>> {
        let Some(versions) = self.documents.get(&id) else {
            return vec![None];
        };
        let is_new = versions.first().is_none_or(|(at, _)| *at > window.from);
        let visible = Self::visible(versions, window).map(Option::as_ref);
        is_new.then_some(None).into_iter().chain(visible).collect()
    }

    /// Checks everything that a filter chooses.
    ///
    /// # Errors
    /// What cannot have been.
    pub(crate) fn check_all(
        &self,
        shown: &[Value],
        window: Window,
        is_chosen: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let mut seen = BTreeMap::new();
        for document in shown {
            let id = document["id"].as_u64().context("a document without id")?;
            ensure!(
                self.documents.contains_key(&id),
                "{document} was never written"
            );
            if seen.insert(id, document).is_some() {
                bail!("document {id} is shown twice");
            }
        }
        if self.is_rough(window) {
            return Ok(());
        }
        for id in self.documents.keys() {
            let versions = self.versions_of(*id, window);
            let shown = seen.get(id).copied();
            let is_right = versions
                .iter()
                .any(|version| version.filter(|document| is_chosen(document)) == shown);
            ensure!(
                is_right,
                "document {id} is {shown:?} and may be {versions:?}, {window:?}"
            );
        }
        Ok(())
    }

    /// Checks one document, or its absence.
    ///
    /// # Errors
    /// It cannot have been so.
    pub(crate) fn check_one(&self, id: u64, shown: Option<&Value>, window: Window) -> Result<()> {
        let versions = self.versions_of(id, window);
        ensure!(
            self.is_rough(window) || versions.contains(&shown),
            "document {id} is {shown:?} and may be {versions:?}, {window:?}"
        );
        Ok(())
    }

    /// Checks a count of all documents.
    ///
    /// # Errors
    /// There can never have been so many, or so few.
    pub(crate) fn check_count(&self, count: u64, window: Window) -> Result<()> {
        let (mut least, mut most) = (0, 0);
        for id in self.documents.keys() {
            let versions = self.versions_of(*id, window);
            least += u64::from(versions.iter().all(Option::is_some));
            most += u64::from(versions.iter().any(Option::is_some));
        }
        ensure!(
            self.is_rough(window) || (least..=most).contains(&count),
            "{count} documents are counted and {least} to {most} can be there, {window:?}"
        );
        Ok(())
    }

    /// Every accepted write is a task, once; no other is; each has succeeded.
    ///
    /// # Errors
    /// What is not so.
    pub fn check_tasks(&self, client: &Client) -> Result<()> {
        let tasks = client.tasks()?;
        let own = |task: &&Value| task["indexUid"] == self.name.as_str();
        let (mut known, mut failed) = (Vec::new(), Vec::new());
        for task in tasks.iter().filter(own) {
            if task["status"] != "succeeded" {
                failed.push(task);
            }
            known.extend(task["uid"].as_u64());
        }
        ensure!(
            failed.is_empty(),
            "{} tasks failed: {failed:?}",
            failed.len()
        );
        let (left, right) = (BTreeSet::from_iter(&known), BTreeSet::from_iter(&self.uids));
        ensure!(
            known == self.uids,
            "{}: accepted and no tasks: {:?}; tasks and not accepted: {:?}",
            self.name,
            right.difference(&left).collect::<Vec<_>>(),
            left.difference(&right).collect::<Vec<_>>(),
        );
        Ok(())
    }

    /// Checks the index at rest, as clients see it.
    ///
    /// # Errors
    /// The first thing that is not as the writes have left it.
    pub fn check_whole(&self, client: &Client) -> Result<()> {
        self.model.check(client, &self.name)?;
        if self.state() == State::Absent {
            return Ok(());
        }
        let path = format!("/indexes/{}/settings", self.name);
        let found = &client.get(&path)?.ok()?[self.setting.0];
        let expected = self.settings.last().map(|(_, value)| value);
        let name = &self.name;
        ensure!(
            Some(found) == expected,
            "{name}: {found} and not {expected:?}"
        );
        Ok(())
    }

    /// What the writes have left; `None` without the index.
    #[must_use]
    pub fn final_documents(&self) -> Option<&BTreeMap<u64, Value>> {
        self.model.documents()
    }

    /// Sends the same writes, in the same order, to somebody else, and waits for their end.
    ///
    /// # Errors
    /// One of them is refused or fails there.
    pub fn replay(&self, client: &Client) -> Result<()> {
        let mut last = None;
        for write in &self.writes {
            match send_write(client, &self.name, write)? {
                Outcome::Accepted(uid) => last = Some(uid),
                Outcome::Unknown => bail!("no answer to {write:?}"),
            }
        }
        let Some(last) = last else { return Ok(()) };
        poll("the end of what is written again", PATIENCE, || {
            let task = client.get(&format!("/tasks/{last}"))?.ok()?;
            let is_open = matches!(task["status"].as_str(), Some("enqueued" | "processing"));
            Ok((!is_open).then_some(()))
        })?;
        let failed = client.get(&format!("/tasks?indexUids={}&statuses=failed", self.name))?;
        let failed = failed.ok()?;
        ensure!(failed["total"] == 0, "failed: {failed}");
        Ok(())
    }
}

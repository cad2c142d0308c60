//! The checkers: what must be true of a history, judged by the model of one perfect Meilisearch.

use crate::history::{Document, Documents, Ended, Events, Read, ReplicaSets, Seen, Target, born};
use crate::model::{End, Life, Model};
use crate::workload::Op;
use miroir_core::hash::shard_of;
use miroir_core::id::NodeId;
use miroir_core::task::TaskStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

/// Judges everything but the state of the nodes at the end.
#[must_use]
pub fn check(events: &Events) -> (Model, Vec<String>) {
    let mut wrong = events.violations.clone();
    check_log(events, &mut wrong);
    let known = |number: &usize| events.ops.get(*number).map(|record| &record.op);
    let ops: Vec<&Op> = events.log.iter().filter_map(known).collect();
    if ops.len() != events.log.len() {
        wrong.push("the log holds what nobody wrote".into());
        return (Model::default(), wrong);
    }
    let model = Model::of(ops.into_iter());
    check_ends(events, &model, &mut wrong);
    check_order(events, &model, &mut wrong);
    let judge = Judge::new(events, &model);
    for read in &events.reads {
        if let Err(why) = judge.check(read) {
            wrong.push(format!("at {:.3}: {why}", read.at.as_secs_f64()));
        }
    }
    (model, wrong)
}

/// No acknowledged write is lost, none that was refused is there, none is there twice.
fn check_log(events: &Events, wrong: &mut Vec<String>) {
    let mut places: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (uid, number) in (0u64..).zip(&events.log) {
        places.entry(*number).or_default().push(uid);
    }
    for (number, record) in events.ops.iter().enumerate() {
        let found = places.get(&number).map_or(&[][..], Vec::as_slice);
        match (record.acked, found) {
            (Some(uid), [at]) if uid.0 == *at => {}
            (Some(uid), found) => {
                wrong.push(format!(
                    "write {number} was given place {uid} and is at {found:?}"
                ));
            }
            (None, [_, _, ..]) => wrong.push(format!("write {number} is in the log twice")),
            (None, [at]) if record.is_refused => {
                wrong.push(format!("write {number} was refused and is at {at}"));
            }
            (None, _) => {}
        }
    }
}

/// Every task ended, as one Meilisearch would have ended it.
fn check_ends(events: &Events, model: &Model, wrong: &mut Vec<String>) {
    let ends: BTreeMap<u64, _> = events
        .ended
        .iter()
        .map(|ended| (ended.uid, ended))
        .collect();
    for (uid, expected) in (0u64..).zip(&model.ends) {
        let Some(ended) = ends.get(&uid) else {
            wrong.push(format!("task {uid} never ends"));
            continue;
        };
        let is_right = match expected {
            _ if ended.status == TaskStatus::Succeeded && model.failures.contains(&uid) => {
                was_overtaken(events, model, ended)
            }
            End::Success => ended.status == TaskStatus::Succeeded,
            End::Failure(code) => {
                ended.status == TaskStatus::Failed && ended.code.as_deref() == Some(code)
            }
        };
        if !is_right {
            wrong.push(format!(
                "task {uid} ended as {ended:?}, not as {expected:?}"
            ));
        }
    }
}

/// A write that nodes would have failed may succeed if the removal of its index was accepted before it
/// ended: one Meilisearch takes both for one batch and tries neither. Then it ends with the removal,
/// unless it stood in the way of a ruling.
fn was_overtaken(events: &Events, model: &Model, ended: &Ended) -> bool {
    let round_of = |uid: u64| {
        let mut all = events.ended.iter();
        all.find(|other| other.uid == uid).map(|other| other.round)
    };
    let mut lives = model.lives.values();
    lives.any(|life| {
        let is_of_it = life.touched.contains(&ended.uid);
        let Some(died) = life.died.filter(|died| is_of_it && *died > ended.uid) else {
            return false;
        };
        let ends_with_it = round_of(died).is_some_and(|round| round <= ended.round);
        overtaken(events, life).contains(&ended.uid)
            && (ends_with_it || !in_the_way(events, model, life).is_empty())
    })
}

/// The writes to an index that had not ended when its removal was accepted: it may have overtaken them.
fn overtaken(events: &Events, life: &Life) -> BTreeSet<u64> {
    let Some(died) = life.died else {
        return BTreeSet::new();
    };
    let came = usize::try_from(died).ok();
    let came = came.and_then(|at| events.ended_before.get(at)).copied();
    let early = &events.ended[..came.unwrap_or(0).min(events.ended.len())];
    let early: BTreeSet<u64> = early.iter().map(|ended| ended.uid).collect();
    let before = life.touched.iter().copied().filter(|uid| *uid < died);
    before.filter(|uid| !early.contains(uid)).collect()
}

/// What nodes fail and cannot be ruled before writes have ended that a removal overtook: to it leads a
/// chain of entries from one of them, of which each has a name or an index in common with one before,
/// so that they end in order. A node that waits for the ruling is sent no removal meanwhile.
fn in_the_way(events: &Events, model: &Model, life: &Life) -> Vec<u64> {
    let Some(first) = overtaken(events, life).first().copied() else {
        return Vec::new();
    };
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut lives: BTreeSet<u64> = BTreeSet::new();
    let mut failures = Vec::new();
    for (uid, number) in (0u64..)
        .zip(&events.log)
        .skip_while(|(uid, _)| *uid < first)
    {
        let Some(record) = events.ops.get(*number) else {
            continue;
        };
        let own_names = record.op.names();
        let touching = model
            .lives
            .iter()
            .filter(|(_, life)| life.touched.contains(&uid));
        let own_lives: Vec<u64> = touching.map(|(born, _)| *born).collect();
        let is_reached = uid == first
            || own_names.iter().any(|name| names.contains(name))
            || own_lives.iter().any(|born| lives.contains(born));
        if is_reached {
            names.extend(own_names);
            lives.extend(own_lives);
            failures.extend(model.failures.contains(&uid).then_some(uid));
        }
    }
    failures
}

/// Tasks of one index end in the order of the log.
fn check_order(events: &Events, model: &Model, wrong: &mut Vec<String>) {
    let ranks = ranks(events);
    for life in model.lives.values() {
        for pair in life.touched.windows(2) {
            if let [Some(first), Some(second)] = [pair[0], pair[1]].map(|uid| ranks.get(&uid))
                && first > second
            {
                wrong.push(format!("task {} ended before task {}", pair[1], pair[0]));
            }
        }
    }
}

/// The place of each task among the ends.
fn ranks(events: &Events) -> BTreeMap<u64, usize> {
    let uids = events.ended.iter().map(|ended| ended.uid);
    uids.enumerate().map(|(rank, uid)| (uid, rank)).collect()
}

struct Judge<'a> {
    events: &'a Events,
    model: &'a Model,
    ranks: BTreeMap<u64, usize>,
    /// By index, what nodes fail behind writes that its removal overtook.
    in_the_way: BTreeMap<u64, Vec<u64>>,
}

impl<'a> Judge<'a> {
    fn new(events: &'a Events, model: &'a Model) -> Self {
        Self {
            events,
            model,
            ranks: ranks(events),
            in_the_way: model
                .lives
                .iter()
                .map(|(born, life)| (*born, in_the_way(events, model, life)))
                .collect(),
        }
    }

    fn has_ended(&self, uid: u64, read: &Read) -> bool {
        self.ranks.get(&uid).is_some_and(|rank| *rank < read.ended)
    }

    /// What may be seen of something that changed at these entries: what the last of them made of it
    /// whose task had ended when the read began, and what those made that came before the read
    /// ended. `None` is how it was at first.
    fn visible<'v, T>(&self, versions: &'v [(u64, T)], read: &Read) -> Vec<Option<&'v T>> {
        let last = versions
            .iter()
            .rposition(|(uid, _)| self.has_ended(*uid, read));
        let first = last.is_none().then_some(None);
        let from = &versions[last.unwrap_or(0)..];
        let later = from.iter().filter(|(uid, _)| *uid < read.appended);
        first
            .into_iter()
            .chain(later.map(|(_, value)| Some(value)))
            .collect()
    }

    fn check(&self, read: &Read) -> Result<(), String> {
        match &read.target {
            Target::Name(name) => self.check_named(name, read),
            Target::Replica(node, physical, sets) => self.check_replica(node, physical, sets, read),
        }
    }

    fn check_named(&self, name: &str, read: &Read) -> Result<(), String> {
        if let Seen::Error(error) = &read.seen {
            let text = || format!("{name} cannot be read although all is well: {error}");
            return if read.is_calm { Err(text()) } else { Ok(()) };
        }
        let empty = Vec::new();
        let versions = self.model.names.get(name).unwrap_or(&empty);
        let lives = self
            .visible(versions, read)
            .into_iter()
            .map(|life| life.copied().flatten());
        let mut why = Vec::new();
        for life in lives {
            let result = match (
                life.and_then(|born| Some((born, self.model.lives.get(&born)?))),
                &read.seen,
            ) {
                (None, Seen::NoIndex) => Ok(()),
                (None, _) => Err(format!("{name} is no index")),
                (Some(_), Seen::NoIndex) => Err(format!("{name} is an index")),
                (Some((born, life)), _) if self.is_failing_before_removal(born, life, read) => {
                    Ok(())
                }
                (Some((_, life)), _) => self.check_life(life, read, |_| true),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(error) => why.push(error),
            }
        }
        Err(format!("a read of {name}: {}", why.join("; or ")))
    }

    /// What a replica in sync holds is what a client could be shown.
    fn check_replica(
        &self,
        node: &NodeId,
        physical: &str,
        replica_sets: &[Vec<NodeId>],
        read: &Read,
    ) -> Result<(), String> {
        let Some(born) = born(physical) else {
            return Err(format!("{physical} is no name of an index"));
        };
        let Some(life) = self.model.lives.get(&born) else {
            return Err(format!("{physical} was made by no entry"));
        };
        if self.is_failing_before_removal(born, life, read) {
            return Ok(());
        }
        if let Seen::NoIndex = read.seen {
            // A removal is under way, and done here already.
            if life.died.is_some_and(|died| died < read.appended) {
                return Ok(());
            }
            return if self.has_ended(born, read) {
                Err(format!("{node} is in sync and lacks {physical}"))
            } else {
                Ok(())
            };
        }
        let is_here = |id: &str| is_placed(replica_sets, id, node);
        self.check_life(life, read, is_here)
            .map_err(|why| format!("{node} is in sync, but its {physical}: {why}"))
    }

    /// The index is being removed, and what the removal overtook may have ended already, since nodes
    /// wait for rulings that wait for it.
    fn is_failing_before_removal(&self, born: u64, life: &Life, read: &Read) -> bool {
        let is_under_way = life
            .died
            .is_some_and(|died| died < read.appended && !self.has_ended(died, read));
        let failures = self.in_the_way.get(&born);
        let mut failures = failures.into_iter().flatten();
        is_under_way && failures.any(|failure| *failure < read.appended)
    }

    fn check_life(
        &self,
        life: &Life,
        read: &Read,
        is_here: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let is_known = |id: &String| {
            if life.documents.contains_key(id) {
                Ok(())
            } else {
                Err(format!("document {id} was never written"))
            }
        };
        let may_be = |id: &str, seen: Option<&Document>, is_shown: &dyn Fn(&Document) -> bool| {
            let versions = life.documents.get(id).map_or(&[][..], Vec::as_slice);
            let visible = self.visible(versions, read);
            let is_seen = visible.iter().any(|version| {
                let shown = version.and_then(Option::as_ref).filter(|d| is_shown(d));
                shown == seen
            });
            if is_seen || self.is_rough(life, read) {
                return Ok(());
            }
            Err(format!("document {id} is {seen:?} and may be {visible:?}"))
        };
        match &read.seen {
            Seen::Whole(pred, documents) => {
                documents.keys().try_for_each(is_known)?;
                let is_chosen = |d: &Document| pred.as_ref().is_none_or(|pred| pred.matches(d));
                let ids = life.documents.keys().filter(|id| is_here(id));
                ids.into_iter()
                    .try_for_each(|id| may_be(id, documents.get(id), &is_chosen))
            }
            Seen::Page(documents) => {
                documents.keys().try_for_each(is_known)?;
                documents
                    .iter()
                    .try_for_each(|(id, d)| may_be(id, Some(d), &|_| true))
            }
            Seen::One(id, document) => may_be(id, document.as_ref(), &|_| true),
            Seen::NoIndex | Seen::Error(_) => Ok(()),
        }
    }

    /// Some node was failing an entry meanwhile. What had been sent behind it, of any index, is then
    /// sent again, over documents that have seen it once: so that what has not ended may be seen in
    /// an order of its own until it ends. Where nodes are ill they may fail any entry.
    fn is_rough(&self, life: &Life, read: &Read) -> bool {
        let is_open = |uid: u64| uid < read.appended && !self.has_ended(uid, read);
        let is_behind = |uid: u64, failure: u64| {
            let came = usize::try_from(uid)
                .ok()
                .and_then(|at| self.events.ended_before.get(at));
            let rank = self.ranks.get(&failure);
            uid > failure && came.zip(rank).is_some_and(|(came, rank)| came <= rank)
        };
        let since = self.events.illness_since;
        if since.is_some_and(|since| since <= read.at)
            && life.touched.iter().any(|uid| is_open(*uid))
        {
            return true;
        }
        self.model.failures.iter().any(|failure| {
            is_open(*failure)
                || life
                    .touched
                    .iter()
                    .any(|uid| is_open(*uid) && is_behind(*uid, *failure))
        })
    }
}

fn is_placed(replica_sets: &[Vec<NodeId>], id: &str, node: &NodeId) -> bool {
    let shard_count = u32::try_from(replica_sets.len())
        .ok()
        .and_then(NonZeroU32::new);
    shard_count.is_some_and(|count| replica_sets[shard_of(id, count).0 as usize].contains(node))
}

/// What a node holds at the end is the model's, its own shards of it and nothing else.
///
/// # Errors
/// What is wrong.
pub fn check_node(
    node: &NodeId,
    held: &BTreeMap<String, (Documents, Option<String>)>,
    placements: &BTreeMap<String, ReplicaSets>,
    model: &Model,
) -> Result<(), String> {
    let mut expected: Vec<&String> = Vec::new();
    for (physical, replica_sets) in placements {
        let Some(life) = born(physical).and_then(|born| model.lives.get(&born)) else {
            return Err(format!("{physical} was made by no entry"));
        };
        if life.died.is_some() || !replica_sets.iter().flatten().any(|other| other == node) {
            continue;
        }
        expected.push(physical);
        let Some((documents, word)) = held.get(physical) else {
            return Err(format!("{node} lacks {physical}"));
        };
        let mut right = life.now();
        right.retain(|id, _| is_placed(replica_sets, id, node));
        if *documents != right {
            return Err(format!(
                "{node} holds {documents:?} of {physical}, not {right:?}"
            ));
        }
        if *word != life.word {
            return Err(format!(
                "{node} has the settings {word:?} of {physical}, not {:?}",
                life.word
            ));
        }
    }
    if held.len() > expected.len() {
        let names: Vec<&String> = held.keys().collect();
        return Err(format!(
            "{node} holds {names:?}, of which live {expected:?}"
        ));
    }
    Ok(())
}

//! One perfect Meilisearch that carries out the log, entry by entry: what every document was and
//! when. Written apart from the engine; it knows nothing of shards, batches or nodes.

use crate::history::{Document, Documents};
use crate::workload::Op;
use miroir_core::task::AdditionMethod;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How a task must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It succeeds.
    Success,
    /// It fails with this code.
    Failure(&'static str),
}

/// An index from its creation to its removal, whatever its names.
#[derive(Debug, Default)]
pub struct Life {
    /// The entries that changed each document, and what they made of it.
    pub documents: BTreeMap<String, Vec<(u64, Option<Document>)>>,
    /// The stop word, by entry.
    pub word: Option<String>,
    /// The entry that removed it.
    pub died: Option<u64>,
    /// Entries that concerned it.
    pub touched: Vec<u64>,
}

impl Life {
    /// What it holds after all that came.
    #[must_use]
    pub fn now(&self) -> Documents {
        let last = |(id, versions): (&String, &Vec<(u64, Option<Document>)>)| {
            versions
                .last()?
                .1
                .clone()
                .map(|document| (id.clone(), document))
        };
        self.documents.iter().filter_map(last).collect()
    }

    fn put(&mut self, at: u64, id: &str, document: Option<Document>) {
        self.documents
            .entry(id.to_owned())
            .or_default()
            .push((at, document));
    }
}

/// The whole course of things.
#[derive(Debug, Default)]
pub struct Model {
    /// By the entry that created them.
    pub lives: BTreeMap<u64, Life>,
    /// Which index each name stood for, from which entry on.
    pub names: BTreeMap<&'static str, Vec<(u64, Option<u64>)>>,
    /// Entries that nodes fail.
    pub failures: Vec<u64>,
    /// How each entry must end.
    pub ends: Vec<End>,
}

const NOT_FOUND: End = End::Failure("index_not_found");
const EXISTS: End = End::Failure("index_already_exists");

impl Model {
    /// Carries out the log.
    pub fn of<'a>(log: impl Iterator<Item = &'a Op>) -> Self {
        let mut model = Self::default();
        for (at, op) in (0u64..).zip(log) {
            let end = model.apply(at, op);
            model.ends.push(end);
        }
        model
    }

    /// The index that a name stands for now.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<u64> {
        self.names.get(name)?.last()?.1
    }

    fn name(&mut self, at: u64, name: &'static str, life: Option<u64>) {
        self.names.entry(name).or_default().push((at, life));
    }

    /// The index of that name, made if there is none.
    fn life_or_new(&mut self, at: u64, name: &'static str) -> &mut Life {
        let born = self.named(name).unwrap_or_else(|| {
            self.name(at, name, Some(at));
            at
        });
        let life = self.lives.entry(born).or_default();
        life.touched.push(at);
        life
    }

    /// Changes documents of an index that must exist.
    fn change(
        &mut self,
        at: u64,
        name: &str,
        change: impl Fn(&str, &Document) -> Option<Option<Document>>,
    ) -> End {
        let Some(life) = self.named(name).and_then(|born| self.lives.get_mut(&born)) else {
            return NOT_FOUND;
        };
        life.touched.push(at);
        for (id, document) in life.now() {
            if let Some(new) = change(&id, &document) {
                life.put(at, &id, new);
            }
        }
        End::Success
    }

    fn apply(&mut self, at: u64, op: &Op) -> End {
        match op {
            Op::Add(method, index, documents, _) => {
                let life = self.life_or_new(at, index);
                let mut now = life.now();
                let mut changed = BTreeMap::new();
                for document in documents {
                    let new = document.as_object().cloned().unwrap_or_default();
                    let id = document["id"].to_string();
                    let old = now.entry(id.clone()).or_default();
                    match method {
                        AdditionMethod::Replace => *old = new,
                        AdditionMethod::Update => old.extend(new),
                    }
                    changed.insert(id, old.clone());
                }
                for (id, document) in changed {
                    life.put(at, &id, Some(document));
                }
                End::Success
            }
            Op::Poison(index, _) => {
                self.life_or_new(at, index);
                self.failures.push(at);
                End::Failure("internal")
            }
            Op::Settings(index, None) => {
                self.life_or_new(at, index);
                self.failures.push(at);
                End::Failure("invalid_settings_synonyms")
            }
            Op::Settings(index, Some(word)) => {
                self.life_or_new(at, index).word = Some(word.clone());
                End::Success
            }
            Op::Delete(index, ids) => self.change(at, index, |id, _| {
                ids.iter().any(|other| other == id).then_some(None)
            }),
            Op::DeleteWhere(index, pred) => self.change(at, index, |_, document| {
                pred.matches(document).then_some(None)
            }),
            Op::Clear(index) => self.change(at, index, |_, _| Some(None)),
            Op::Edit(index, pred) => self.change(at, index, |_, document| {
                let is_chosen = pred.as_ref().is_none_or(|pred| pred.matches(document));
                is_chosen.then(|| {
                    let mut document = document.clone();
                    let n = document.get("n").and_then(Value::as_u64).unwrap_or(0);
                    document.insert("n".into(), json!(n + 1));
                    Some(document)
                })
            }),
            Op::Create(index) => {
                if self.named(index).is_some() {
                    return EXISTS;
                }
                self.life_or_new(at, index);
                End::Success
            }
            Op::Drop(index) => {
                let Some(life) = self.named(index).and_then(|born| self.lives.get_mut(&born))
                else {
                    return NOT_FOUND;
                };
                life.died = Some(at);
                life.touched.push(at);
                self.name(at, index, None);
                End::Success
            }
            Op::Rename(from, to) => {
                let Some(born) = self.named(from) else {
                    return NOT_FOUND;
                };
                if from != to {
                    if self.named(to).is_some() {
                        return EXISTS;
                    }
                    self.name(at, from, None);
                    self.name(at, to, Some(born));
                }
                self.touch(at, born);
                End::Success
            }
            Op::Swap(one, other) => {
                let (Some(first), Some(second)) = (self.named(one), self.named(other)) else {
                    return NOT_FOUND;
                };
                self.name(at, one, Some(second));
                self.name(at, other, Some(first));
                self.touch(at, first);
                self.touch(at, second);
                End::Success
            }
        }
    }

    fn touch(&mut self, at: u64, born: u64) {
        if let Some(life) = self.lives.get_mut(&born) {
            life.touched.push(at);
        }
    }
}

//! What clients do: random but legal writes and reads on a few indexes.

use crate::dice::Dice;
use crate::world::{
    add_by, create, delete_ids, drop_index, edit, lines, rename, settings, swap, write,
};
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::engine::Write;
use miroir_engine::port::Payload;
use miroir_engine::{Engine, EngineError};
use serde_json::{Map, Value, json};

/// The names of indexes.
pub const INDEXES: [&str; 3] = ["x", "y", "z"];
/// Ids of documents are below.
pub const IDS: u64 = 14;
/// Kinds of documents are below.
const KINDS: u64 = 3;

/// Which documents: those of some kinds or not of them, and perhaps one more.
#[derive(Debug, Clone, PartialEq)]
pub struct Pred {
    kinds: Vec<u64>,
    is_negated: bool,
    or_id: Option<u64>,
}

impl Pred {
    fn roll(dice: &mut Dice) -> Self {
        Self {
            kinds: (0..=dice.below(2)).map(|_| dice.below(KINDS)).collect(),
            is_negated: dice.chance(25),
            or_id: dice.chance(25).then(|| dice.below(IDS)),
        }
    }

    /// In the language of the nodes.
    #[must_use]
    pub fn text(&self) -> String {
        let kinds: Vec<String> = self.kinds.iter().map(u64::to_string).collect();
        let mut text = match kinds.as_slice() {
            [kind] => format!("kind = {kind}"),
            kinds => format!("kind IN [{}]", kinds.join(", ")),
        };
        if self.is_negated {
            text = format!("NOT {text}");
        }
        if let Some(id) = self.or_id {
            text = format!("{text} OR id = {id}");
        }
        text
    }

    /// It chooses the document.
    #[must_use]
    pub fn matches(&self, document: &Map<String, Value>) -> bool {
        let number = |field: &str| document.get(field).and_then(Value::as_u64);
        let is_of_kind = number("kind").is_some_and(|kind| self.kinds.contains(&kind));
        is_of_kind != self.is_negated || (self.or_id.is_some() && number("id") == self.or_id)
    }
}

/// One write.
#[derive(Debug, Clone)]
pub enum Op {
    /// Documents; in a file if the flag is set.
    Add(AdditionMethod, &'static str, Vec<Value>, bool),
    /// A document that every node fails.
    Poison(&'static str, u64),
    /// Deletes by id.
    Delete(&'static str, Vec<String>),
    /// Deletes by filter.
    DeleteWhere(&'static str, Pred),
    /// Deletes all documents.
    Clear(&'static str),
    /// Adds one to `n`: not the same when done twice.
    Edit(&'static str, Option<Pred>),
    /// A stop word, or settings that every node fails.
    Settings(&'static str, Option<String>),
    /// Makes an index.
    Create(&'static str),
    /// Removes one.
    Drop(&'static str),
    /// Gives it another name.
    Rename(&'static str, &'static str),
    /// Exchanges names.
    Swap(&'static str, &'static str),
}

impl Op {
    /// The next write; `stamp` is a number that no other write has.
    pub fn roll(dice: &mut Dice, stamp: u64) -> Self {
        let index = dice.pick(&INDEXES);
        match dice.below(40) {
            0..20 => {
                let method = dice.pick(&[AdditionMethod::Replace, AdditionMethod::Update]);
                let document = |dice: &mut Dice| {
                    let field = dice.pick(&["p", "q"]);
                    let mut document = json!({"id": dice.below(IDS), field: stamp});
                    if dice.chance(80) {
                        document["kind"] = json!(dice.below(KINDS));
                    }
                    document
                };
                let documents = (0..=dice.below(5)).map(|_| document(dice)).collect();
                Self::Add(method, index, documents, dice.chance(15))
            }
            20..22 => Self::Poison(index, dice.below(IDS)),
            22..25 => {
                let ids = (0..=dice.below(3)).map(|_| dice.below(IDS).to_string());
                Self::Delete(index, ids.collect())
            }
            25..28 => Self::DeleteWhere(index, Pred::roll(dice)),
            28 => Self::Clear(index),
            29..32 => Self::Edit(index, dice.chance(60).then(|| Pred::roll(dice))),
            32..34 => Self::Settings(index, dice.chance(75).then(|| format!("w{stamp}"))),
            34 => Self::Create(index),
            35 | 36 => Self::Drop(index),
            37 => Self::Rename(index, dice.pick(&INDEXES)),
            _ => {
                let from = INDEXES.iter().position(|name| *name == index).unwrap_or(0);
                let other = (from + 1 + dice.position(2)) % INDEXES.len();
                Self::Swap(index, INDEXES[other])
            }
        }
    }

    /// The names it speaks of.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::Add(_, index, ..)
            | Self::Poison(index, _)
            | Self::Delete(index, _)
            | Self::DeleteWhere(index, _)
            | Self::Clear(index)
            | Self::Edit(index, _)
            | Self::Settings(index, _)
            | Self::Create(index)
            | Self::Drop(index) => vec![index],
            Self::Rename(from, to) | Self::Swap(from, to) => vec![from, to],
        }
    }

    /// As the edge gives it to the engine.
    ///
    /// # Errors
    /// The payload store failed.
    pub async fn to_write(&self, engine: &Engine) -> Result<Write, EngineError> {
        Ok(match self {
            Self::Add(method, index, documents, false) => add_by(*method, index, documents),
            Self::Add(method, index, documents, true) => {
                let mut file = engine.create_payload().await?;
                file.append(lines(documents)).await?;
                Write {
                    payload: Some(Payload::Stored(file.finish().await?)),
                    ..add_by(*method, index, documents)
                }
            }
            Self::Poison(index, id) => add_by(
                AdditionMethod::Replace,
                index,
                &[json!({"id": id, "poison": true})],
            ),
            Self::Delete(index, ids) => {
                delete_ids(index, &ids.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Self::DeleteWhere(index, pred) => write(
                index,
                Operation::DeleteByFilter {
                    filter: json!(pred.text()),
                },
            ),
            Self::Clear(index) => write(index, Operation::DeleteAllDocuments),
            Self::Edit(index, pred) => {
                edit(index, "n += 1", pred.as_ref().map(Pred::text).as_deref())
            }
            Self::Settings(index, Some(word)) => settings(index, json!({"stopWords": [word]})),
            Self::Settings(index, None) => settings(index, json!({"synonyms": {"poison": ["x"]}})),
            Self::Create(index) => create(index),
            Self::Drop(index) => drop_index(index),
            Self::Rename(from, to) => rename(from, to),
            Self::Swap(one, other) => swap(&[(one, other, false)]),
        })
    }
}

/// One read.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A search for everything that a filter chooses.
    Search(Option<Pred>),
    /// A page of a search.
    Page(usize, usize),
    /// A listing of everything that a filter chooses.
    List(Option<Pred>),
    /// One document.
    Get(u64),
}

impl Ask {
    /// The next read.
    pub fn roll(dice: &mut Dice) -> Self {
        let pred = |dice: &mut Dice| dice.chance(40).then(|| Pred::roll(dice));
        match dice.below(10) {
            0..5 => Self::Search(pred(dice)),
            5 => Self::Page(dice.position(6), 1 + dice.position(5)),
            6 | 7 => Self::List(pred(dice)),
            _ => Self::Get(dice.below(IDS)),
        }
    }
}

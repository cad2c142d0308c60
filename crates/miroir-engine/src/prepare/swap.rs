//! Index swaps: a change of which name stands for which physical index. No node hears of it.
//!
//! The names are exchanged in the catalog with the batch and for readers when it is done, which is
//! when everything that came before under any of the names has ended.

use super::{Prepared, Preparer, error_value};
use crate::port::{Change, TaskRecord};
use crate::state::Effect;
use miroir_core::id::IndexUid;
use miroir_core::task::IndexSwap;
use serde_json::Value;
use std::collections::BTreeSet;

impl Preparer {
    /// Exchanges all pairs, or ends the task with the error that Meilisearch gives.
    pub(super) fn prepare_swaps(&mut self, swaps: &[IndexSwap], task: &TaskRecord) -> Prepared {
        // A plan has a name; that of a swap of nothing is one that no index needs.
        let uid = match swaps.first() {
            Some(swap) => swap.indexes.0.clone(),
            None => IndexUid::new("no-index").expect("letters and a hyphen are a valid uid"),
        };
        let error = self.swap_error(swaps);
        let has_failed = error.is_some();
        let mut prepared = self.nothing(&uid, task, error);
        if has_failed {
            return prepared;
        }
        for swap in swaps {
            let (from, to) = &swap.indexes;
            prepared.changes.extend(self.exchange(from, to));
            prepared.plan.exchanges.push(swap.indexes.clone());
        }
        prepared.effect = Effect::Exchange {
            names: prepared.plan.exchanges.clone(),
            record: None,
        };
        prepared
    }

    /// Exchanges two names, of which the first stands for an index.
    fn exchange(&mut self, from: &IndexUid, to: &IndexUid) -> Vec<Change> {
        let (first, second) = (self.indexes.remove(from), self.indexes.remove(to));
        let is_rename = second.is_none();
        let mut changes = Vec::new();
        for (index, name) in [(first, to), (second, from)] {
            let Some(mut index) = index else { continue };
            index.record.uid = name.clone();
            changes.push(if is_rename {
                Change::RenameIndex {
                    from: from.clone(),
                    to: to.clone(),
                }
            } else {
                Change::PutIndex(Box::new(index.record.clone()))
            });
            self.indexes.insert(name.clone(), index);
        }
        changes
    }

    /// What is wrong with the pairs together.
    fn swap_error(&self, swaps: &[IndexSwap]) -> Option<Value> {
        let exists = |uid: &IndexUid| self.indexes.contains_key(uid);
        let mut missing = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for IndexSwap { indexes, rename } in swaps {
            let (from, to) = indexes;
            if !exists(from) {
                missing.insert(from);
            }
            match (exists(to), rename) {
                (false, false) => {
                    missing.insert(to);
                }
                (true, true) => {
                    taken.insert((from, to));
                }
                (true, false) | (false, true) => {}
            }
        }
        let listed = |names: Vec<&IndexUid>| {
            let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            quoted.join(", ")
        };
        let names: Vec<&IndexUid> = missing.into_iter().collect();
        if let [name] = names.as_slice() {
            return Some(super::index_not_found(name));
        }
        if !names.is_empty() {
            let message = format!("Indexes {} not found.", listed(names));
            return Some(error_value("index_not_found", message));
        }
        let pairs: Vec<(&IndexUid, &IndexUid)> = taken.into_iter().collect();
        let message = match pairs.as_slice() {
            [] => return None,
            [(from, to)] => format!(
                "Cannot rename `{from}` to `{to}` as the index already exists. Hint: You can \
                 remove `{to}` first and then do your remove."
            ),
            _ => format!(
                "The following indexes are being renamed but cannot because their new name \
                 conflicts with an already existing index: {}. Renaming doesn't overwrite the \
                 other index name.",
                listed(pairs.into_iter().map(|(_, to)| to).collect())
            ),
        };
        Some(error_value("index_already_exists", message))
    }
}

//! A sorted map that can take back what was done since the last commit.

use std::collections::BTreeMap;

/// A map with an undo journal: a change costs its own size, never the map's.
#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// What each change replaced, oldest first.
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            undo: Vec::new(),
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn put(&mut self, key: K, value: V) {
        let old = self.rows.insert(key.clone(), value);
        self.undo.push((key, old));
    }

    /// Removes and returns a row.
    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.undo.push((key.clone(), Some(old.clone())));
        Some(old)
    }

    /// Removes the rows that `is_gone` picks; returns how many went.
    pub(super) fn take_where(&mut self, is_gone: impl Fn(&K, &V) -> bool) -> u64 {
        let keys: Vec<K> = self
            .rows
            .iter()
            .filter(|(key, value)| is_gone(key, value))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &keys {
            self.take(key);
        }
        keys.len() as u64
    }

    pub(super) fn commit(&mut self) {
        self.undo.clear();
    }

    pub(super) fn rollback(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            match old {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

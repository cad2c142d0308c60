//! One table of the file being read: its values by type, with what is wrong told at their lines.

use super::{At, Mistake};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Names under which people look for a place to write a secret.
const SECRET_KEYS: &[&str] = &[
    "master_key",
    "node_key",
    "node_master_key",
    "key",
    "api_key",
];

/// The line, from 1, of a byte offset.
pub(super) fn line_of(source: &str, offset: usize) -> usize {
    let end = offset.min(source.len());
    source.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// One table being read. Creating it reports its unknown keys.
pub(super) struct Section<'s, 'm> {
    source: &'s str,
    values: BTreeMap<String, (Range<usize>, DeValue<'s>)>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'s, 'm> Section<'s, 'm> {
    pub(super) fn new(
        source: &'s str,
        table: DeTable<'s>,
        keys: &[&str],
        owner: &str,
        mistakes: &'m mut Vec<Mistake>,
    ) -> Self {
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            if keys.contains(&name.as_str()) {
                values.insert(name, (value.span(), value.into_inner()));
            } else {
                let line = Some(line_of(source, key.span().start));
                mistakes.push(Mistake {
                    line,
                    text: explain_unknown(&name, keys, owner),
                });
            }
        }
        Self {
            source,
            values,
            mistakes,
        }
    }

    /// Takes the value of `key` if `convert` knows its type; says what was expected if not.
    fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        example: &str,
        convert: impl FnOnce(&DeValue<'s>) -> Option<T>,
    ) -> Option<At<T>> {
        let (span, value) = self.values.remove(key)?;
        let line = Some(line_of(self.source, span.start));
        if let Some(value) = convert(&value) {
            return Some(At { value, line });
        }
        let text = format!("`{key}` must be {expected}: write `{key} = {example}`");
        self.mistakes.push(Mistake { line, text });
        None
    }

    pub(super) fn text(&mut self, key: &str, example: &str) -> Option<At<String>> {
        self.take(key, "a text in quotes", example, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
    }

    pub(super) fn integer(&mut self, key: &str, example: &str) -> Option<At<i64>> {
        self.take(key, "a whole number without quotes", example, as_integer)
    }

    pub(super) fn switch(&mut self, key: &str, example: &str) -> Option<At<bool>> {
        self.take(key, "true or false", example, |value| match value {
            DeValue::Boolean(switch) => Some(*switch),
            _ => None,
        })
    }

    pub(super) fn number(&mut self, key: &str, example: &str) -> Option<At<f64>> {
        self.take(
            key,
            "a number without quotes",
            example,
            |value| match value {
                DeValue::Float(float) => float.as_str().parse().ok(),
                DeValue::Integer(integer) => integer.as_str().parse().ok(),
                _ => None,
            },
        )
    }

    /// The `[key]` table, if there is one.
    pub(super) fn table(&mut self, key: &str) -> Option<DeTable<'s>> {
        let (span, value) = self.values.remove(key)?;
        match value {
            DeValue::Table(table) => Some(table),
            _ => {
                self.mistakes.push(Mistake {
                    line: Some(line_of(self.source, span.start)),
                    text: format!("`{key}` must be a table: write `[{key}]` above its keys"),
                });
                None
            }
        }
    }

    /// The tables of a `[[key]]` list, each with its line; `None` if there is no list, or if it is
    /// empty.
    pub(super) fn tables(&mut self, key: &str) -> Option<Vec<(usize, DeTable<'s>)>> {
        let (span, value) = self.values.remove(key)?;
        let line = line_of(self.source, span.start);
        let mut mistake = |line| {
            let text = format!("`{key}` must be a list of tables: write `[[{key}]]` above each");
            self.mistakes.push(Mistake {
                line: Some(line),
                text,
            });
        };
        let DeValue::Array(items) = value else {
            mistake(line);
            return Some(Vec::new());
        };
        if items.is_empty() {
            return None;
        }
        let mut tables = Vec::new();
        for item in items {
            let line = line_of(self.source, item.span().start);
            match item.into_inner() {
                DeValue::Table(table) => tables.push((line, table)),
                _ => mistake(line),
            }
        }
        Some(tables)
    }
}

fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

fn explain_unknown(name: &str, keys: &[&str], owner: &str) -> String {
    if SECRET_KEYS.contains(&name) {
        return format!(
            "`{name}` is a secret and secrets never stand in the file: set MIROIR_MASTER_KEY \
             (what clients use) or MIROIR_NODE_KEY (the nodes' own key) in the environment, or \
             name another variable with a node's `key_env`"
        );
    }
    match nearest(name, keys) {
        Some(key) => format!("unknown key {owner}`{name}`: did you mean `{key}`?"),
        None => {
            let list = keys
                .iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ");
            format!("unknown key {owner}`{name}`: the known ones are {list}")
        }
    }
}

/// The key that `name` was probably meant to be: the least number of changed letters, and no
/// more than a third of the name's length, beyond which a guess misleads.
fn nearest<'k>(name: &str, keys: &[&'k str]) -> Option<&'k str> {
    let normal = name.to_lowercase().replace('-', "_");
    let part_of = |key: &&&str| normal.len() >= 4 && key.contains(&normal);
    keys.iter()
        .map(|key| (edit_distance(&normal, key), *key))
        .filter(|(distance, key)| *distance <= key.len().div_ceil(3))
        .min()
        .map(|(_, key)| key)
        .or_else(|| keys.iter().find(part_of).copied())
}

/// The number of letters to insert, delete or replace to make `a` of `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::KEYS;
    use super::*;

    #[test]
    fn the_distance_counts_changed_letters() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
        assert_eq!(edit_distance("http_adr", "http_addr"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_name_far_from_every_key_gets_no_guess() {
        assert_eq!(nearest("quorum", KEYS), None);
        assert_eq!(
            nearest("Replication-Factor", KEYS),
            Some("replication_factor")
        );
        assert_eq!(nearest("shards", KEYS), Some("default_shards"));
    }
}

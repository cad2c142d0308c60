//! Sets of attributes by name, and documents cut down to them.
//!
//! A name reaches into objects, and through arrays, by dots. There are two ways to cut, and
//! Meilisearch uses both: [`Attributes::prune`] for what is displayed and retrieved,
//! [`Attributes::select`] for `_formatted`.

use milli_core::{FieldsIdsMap, is_faceted_by};
use serde_json::{Map, Value};

/// Attributes that are shown, retrieved or formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attributes {
    All,
    Named(Vec<String>),
}

impl Attributes {
    /// The known attributes of a list; no list, or one with a `*` in it, means all.
    pub(crate) fn resolve<S: AsRef<str>>(names: Option<&[S]>, fields: &FieldsIdsMap) -> Self {
        match names {
            Some(names) if names.iter().all(|name| name.as_ref() != "*") => {
                Attributes::named(names, fields)
            }
            _ => Attributes::All,
        }
    }

    /// The known attributes of a list in which a `*` is not special.
    pub(crate) fn named<S: AsRef<str>>(names: &[S], fields: &FieldsIdsMap) -> Self {
        let known = names
            .iter()
            .map(AsRef::as_ref)
            .filter(|name| fields.id(name).is_some());
        Attributes::Named(known.map(str::to_owned).collect())
    }

    /// Whether the attribute is in the set under this very name.
    pub(crate) fn contains(&self, attribute: &str) -> bool {
        match self {
            Attributes::All => true,
            Attributes::Named(names) => names.iter().any(|name| name == attribute),
        }
    }

    /// Whether the attribute, a part of it, or what it is a part of belongs to the set.
    pub(crate) fn touches(&self, attribute: &str) -> bool {
        match self {
            Attributes::All => true,
            Attributes::Named(names) => names.iter().any(|name| is_related(name, attribute)),
        }
    }

    /// The attributes that are in both sets under the same name.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Attributes::All, other) => other.clone(),
            (Attributes::Named(names), other) => {
                let both = names.iter().filter(|name| other.contains(name));
                Attributes::Named(both.cloned().collect())
            }
        }
    }

    /// The document without the keys that lead to no attribute of the set. What is not an object
    /// stays where it stands, so that arrays keep their length. The order of the keys stays.
    pub(crate) fn prune(&self, document: Map<String, Value>) -> Map<String, Value> {
        self.cut(document, prune_value)
    }

    /// The document with nothing but the attributes of the set: objects in arrays that have none of
    /// them, and values where an object was expected, are gone too.
    pub(crate) fn select(&self, document: Map<String, Value>) -> Map<String, Value> {
        self.cut(document, select_value)
    }

    fn cut(&self, document: Map<String, Value>, cut_value: CutValue) -> Map<String, Value> {
        match self {
            Attributes::All => document,
            Attributes::Named(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                cut_object(document, &names, cut_value)
            }
        }
    }
}

/// Whether one of the two names lies within the other.
pub(crate) fn is_related(left: &str, right: &str) -> bool {
    is_faceted_by(left, right) || is_faceted_by(right, left)
}

/// What remains of a value on the way to the names, if anything does.
type CutValue = fn(Value, &[&str]) -> Option<Value>;

fn cut_object(object: Map<String, Value>, names: &[&str], cut: CutValue) -> Map<String, Value> {
    let mut remains = Map::new();
    for (key, value) in object {
        if names.contains(&key.as_str()) {
            remains.insert(key, value);
            continue;
        }
        let below: Vec<&str> = names
            .iter()
            .filter_map(|name| name.strip_prefix(key.as_str())?.strip_prefix('.'))
            .collect();
        if !below.is_empty()
            && let Some(value) = cut(value, &below)
        {
            remains.insert(key, value);
        }
    }
    remains
}

fn prune_value(value: Value, names: &[&str]) -> Option<Value> {
    Some(match value {
        Value::Object(object) => Value::Object(cut_object(object, names, prune_value)),
        Value::Array(items) => items
            .into_iter()
            .filter_map(|item| prune_value(item, names))
            .collect(),
        other => other,
    })
}

fn select_value(value: Value, names: &[&str]) -> Option<Value> {
    match value {
        Value::Object(object) => Some(Value::Object(cut_object(object, names, select_value))),
        Value::Array(items) => {
            let selected = items
                .into_iter()
                .filter_map(|item| select_value(item, names));
            let is_empty_object =
                |item: &Value| item.as_object().is_some_and(|object| object.is_empty());
            Some(selected.filter(|item| !is_empty_object(item)).collect())
        }
        _ => None,
    }
}

/// Calls back for each value that is neither object nor array, with its dotted name and its
/// position in the arrays it lies in, in document order. Only names that touch the set are visited.
pub(crate) fn visit_leaves(
    document: &mut Map<String, Value>,
    attributes: &Attributes,
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    visit_object(document, "", attributes, &mut Vec::new(), visit);
}

fn visit_object(
    object: &mut Map<String, Value>,
    prefix: &str,
    attributes: &Attributes,
    positions: &mut Vec<usize>,
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    for (key, value) in object {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if attributes.touches(&name) {
            visit_value(value, &name, attributes, positions, visit);
        }
    }
}

fn visit_value(
    value: &mut Value,
    name: &str,
    attributes: &Attributes,
    positions: &mut Vec<usize>,
    visit: &mut impl FnMut(&str, &[usize], &mut Value),
) {
    match value {
        Value::Object(object) => visit_object(object, name, attributes, positions, visit),
        Value::Array(items) => {
            for (item_idx, item) in items.iter_mut().enumerate() {
                positions.push(item_idx);
                visit_value(item, name, attributes, positions, visit);
                positions.pop();
            }
        }
        leaf => visit(name, positions, leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(names: &[&str], document: Value, pruned: Value, selected: Value) {
        let Value::Object(document) = document else {
            panic!("not an object")
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let attributes = Attributes::Named(names);
        assert_eq!(Value::Object(attributes.prune(document.clone())), pruned);
        assert_eq!(Value::Object(attributes.select(document)), selected);
    }

    #[test]
    fn a_star_names_everything_and_unknown_names_nothing() {
        let mut fields = FieldsIdsMap::new();
        fields.insert("a");
        let resolve = |names: &[&str]| Attributes::resolve(Some(names), &fields);
        assert_eq!(resolve(&["x", "*"]), Attributes::All);
        assert_eq!(
            resolve(&["a", "x"]),
            Attributes::Named(vec!["a".to_owned()])
        );
        assert_eq!(Attributes::resolve::<&str>(None, &fields), Attributes::All);
    }

    #[test]
    fn a_name_keeps_all_below_it() {
        let kept = json!({"b": {"c": 2}});
        check(&["b"], json!({"a": 1, "b": {"c": 2}}), kept.clone(), kept);
    }

    #[test]
    fn a_dotted_name_reaches_into_objects_and_arrays() {
        check(
            &["a.b"],
            json!({"a": [{"c": 3}, 4, [5, {"b": 1}], [{"c": 1}], {"b": 2, "c": 3}, null]}),
            json!({"a": [{}, 4, [5, {"b": 1}], [{}], {"b": 2}, null]}),
            json!({"a": [[{"b": 1}], [], {"b": 2}]}),
        );
    }

    #[test]
    fn a_value_on_the_way_is_pruned_around_but_not_selected() {
        check(
            &["b.c.d"],
            json!({"b": {"c": 5}}),
            json!({"b": {"c": 5}}),
            json!({"b": {}}),
        );
    }

    #[test]
    fn a_key_with_a_dot_is_found_by_its_name() {
        let kept = json!({"a.b": 1, "a": {}});
        check(
            &["a.b"],
            json!({"a.b": 1, "a": {"c": 2}}),
            kept.clone(),
            kept,
        );
    }

    #[test]
    fn leaves_are_visited_in_order_with_their_positions() {
        let mut document = json!({"a": ["x", {"b": "y"}], "c": 1});
        let mut seen = Vec::new();
        visit_leaves(
            document.as_object_mut().unwrap(),
            &Attributes::All,
            &mut |name, positions, value| {
                seen.push((name.to_owned(), positions.to_vec(), value.clone()));
            },
        );
        let expected = vec![
            ("a".to_owned(), vec![0], json!("x")),
            ("a.b".to_owned(), vec![1], json!("y")),
            ("c".to_owned(), vec![], json!(1)),
        ];
        assert_eq!(seen, expected);
    }
}

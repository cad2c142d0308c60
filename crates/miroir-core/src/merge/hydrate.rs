//! Documents of other indexes in the place of the ids that name them.
//!
//! Where the feature is on, a hit shows for each value of a foreign key the document it names: what
//! that index displays of it, or an empty object if there is none. What is no document id stays.
//! The hits are changed as text, so nothing else of them is.

use super::attribute::is_within;
use super::hit::{DETAILS, FORMATTED, MATCHES_POSITION, SCORE};
use super::members::{Members, RawMembers, write_name};
use crate::document::DOCUMENT_ID_BYTES_MAX;
use crate::foreign::ForeignKey;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The member that tells where a hit of a federated search comes from.
const FEDERATION: &str = "_federation";
/// What lies deeper is passed on as it is; a node reads nothing that is nested so deep.
const DEPTH_MAX: usize = 128;

/// The foreign documents by id: what is shown of them, `None` for those that do not exist. Ids that
/// are not in it stay as they are.
pub type ForeignDocuments = HashMap<String, Option<Vec<u8>>>;

/// The foreign keys of the hits of an answer.
#[derive(Debug, Clone, Copy)]
pub enum HitKeys<'k> {
    /// All hits are of one index.
    Same(&'k [ForeignKey]),
    /// They come from several, by the client's names of these.
    ByIndex(&'k HashMap<String, Vec<ForeignKey>>),
}

impl<'k> HitKeys<'k> {
    /// Those of a hit with this member `_federation`.
    fn of(self, federation: Option<&RawValue>) -> &'k [ForeignKey] {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Origin {
            index_uid: String,
        }
        match self {
            Self::Same(keys) => keys,
            Self::ByIndex(keys) => federation
                .and_then(|raw| serde_json::from_str::<Origin>(raw.get()).ok())
                .and_then(|origin| keys.get(&origin.index_uid))
                .map_or(&[], Vec::as_slice),
        }
    }
}

/// The ids that hits name, by index. One level of an array is looked at, and what follows a value in
/// it that is no id is not: such values show a document only if another hit names it.
///
/// # Errors
/// The hits are no JSON array of objects.
pub fn named_ids<'k>(
    hits: &[u8],
    keys: HitKeys<'k>,
) -> Result<BTreeMap<&'k str, BTreeSet<String>>, serde_json::Error> {
    let mut ids: BTreeMap<&'k str, BTreeSet<String>> = BTreeMap::new();
    let hits: Vec<&RawValue> = serde_json::from_slice(hits)?;
    for hit in hits {
        let members: RawMembers<'_> = serde_json::from_str(hit.get())?;
        let keys = keys.of(members.get(FEDERATION).copied());
        if keys.is_empty() {
            continue;
        }
        let mut document: Map<String, Value> = serde_json::from_str(hit.get())?;
        for added in [FORMATTED, MATCHES_POSITION, SCORE, DETAILS, FEDERATION] {
            document.shift_remove(added);
        }
        for key in keys {
            let mut found = Vec::new();
            visit(&document, &key.field, &mut |value| match value {
                Value::Array(values) => found.extend(values.iter().map_while(id_of_value)),
                value => found.extend(id_of_value(value)),
            });
            if !found.is_empty() {
                ids.entry(&key.index).or_default().extend(found);
            }
        }
    }
    Ok(ids)
}

/// The hits with the documents that they name, by index; key by key, in the order of the settings.
///
/// # Errors
/// As [`named_ids`].
///
/// ```
/// use miroir_core::foreign::ForeignKey;
/// use miroir_core::merge::{HitKeys, hydrated, named_ids};
///
/// let hits = br#"[{"id":1,"author":"a"},{"id":2,"author":["b",null]}]"#;
/// let keys = [ForeignKey { index: "authors".into(), field: "author".into() }];
/// let keys = HitKeys::Same(&keys);
/// assert_eq!(named_ids(hits, keys).unwrap()["authors"].len(), 2);
/// let found = [("a".to_owned(), Some(br#"{"n":1}"#.to_vec())), ("b".to_owned(), None)];
/// let documents = [("authors", found.into())].into();
/// let shown = hydrated(hits, keys, &documents).unwrap();
/// assert_eq!(shown, br#"[{"id":1,"author":{"n":1}},{"id":2,"author":[{},null]}]"#);
/// ```
pub fn hydrated(
    hits: &[u8],
    keys: HitKeys<'_>,
    documents: &HashMap<&str, ForeignDocuments>,
) -> Result<Vec<u8>, serde_json::Error> {
    let hits: Vec<&RawValue> = serde_json::from_slice(hits)?;
    let mut out = vec![b'['];
    for (at, hit) in hits.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut shown = hit.get().as_bytes().to_vec();
        let members: RawMembers<'_> = serde_json::from_str(hit.get())?;
        for key in keys.of(members.get(FEDERATION).copied()) {
            let Some(documents) = documents.get(key.index.as_str()) else {
                continue;
            };
            let members: RawMembers<'_> = serde_json::from_slice(&shown)?;
            let mut next = Vec::with_capacity(shown.len());
            let field = key.field.as_str();
            write_hit(&members, field, &mut next, &|leaf, out| {
                put(leaf, out, documents);
            });
            shown = next;
        }
        out.extend_from_slice(&shown);
    }
    out.push(b']');
    Ok(out)
}

/// What an index that displays only these attributes shows of a document in a foreign place. An
/// object loses what is not displayed; what is no object is shown whole where something within it
/// would be.
///
/// # Errors
/// The document is no JSON object.
///
/// ```
/// use miroir_core::merge::displayed_only;
///
/// let document = br#"{"a":{"x":1,"y":2},"b":5,"c":[{"x":1},7]}"#;
/// let displayed = ["a.x", "b.x", "c.y"].map(str::to_owned);
/// let shown = displayed_only(document, &displayed).unwrap();
/// assert_eq!(shown, br#"{"a":{"x":1},"b":5,"c":[{},7]}"#);
/// ```
pub fn displayed_only(document: &[u8], displayed: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    let members: RawMembers<'_> = serde_json::from_slice(document)?;
    let mut out = Vec::with_capacity(document.len());
    write_displayed(&members, "", displayed, 0, &mut out);
    Ok(out)
}

fn write_displayed(
    Members(members): &RawMembers<'_>,
    base: &str,
    displayed: &[String],
    depth: usize,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in members {
        let path = joined(base, name);
        if displayed.iter().any(|shown| is_within(shown, &path)) {
            write_name(out, &mut is_first, name);
            write_displayed_value(raw, &path, displayed, depth + 1, out);
        }
    }
    out.push(b'}');
}

fn write_displayed_value(
    raw: &RawValue,
    path: &str,
    displayed: &[String],
    depth: usize,
    out: &mut Vec<u8>,
) {
    let is_whole = depth > DEPTH_MAX || displayed.iter().any(|shown| shown == path);
    match Shape::of(raw) {
        Shape::Object(members) if !is_whole => {
            write_displayed(&members, path, displayed, depth, out);
        }
        Shape::Array(items) if !is_whole => write_items(&items, out, |item, out| {
            write_displayed_value(item, path, displayed, depth + 1, out);
        }),
        _ => out.extend_from_slice(raw.get().as_bytes()),
    }
}

/// What is done with a value that has no values in it.
type Leaf<'f> = dyn Fn(&RawValue, &mut Vec<u8>) + 'f;

/// Writes a hit; `leaf` writes what lies in this field of its document, twice where the hit shows
/// the document in two ways.
fn write_hit(Members(hit): &RawMembers<'_>, field: &str, out: &mut Vec<u8>, leaf: &Leaf<'_>) {
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in hit {
        write_name(out, &mut is_first, name);
        match name.as_ref() {
            FORMATTED => match Shape::of(raw) {
                Shape::Object(members) => write_object(&members, "", field, 1, out, leaf),
                _ => out.extend_from_slice(raw.get().as_bytes()),
            },
            MATCHES_POSITION | SCORE | DETAILS | FEDERATION => {
                out.extend_from_slice(raw.get().as_bytes());
            }
            name => write_below(raw, name, field, 1, out, leaf),
        }
    }
    out.push(b'}');
}

fn write_object(
    Members(members): &RawMembers<'_>,
    base: &str,
    field: &str,
    depth: usize,
    out: &mut Vec<u8>,
    leaf: &Leaf<'_>,
) {
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in members {
        write_name(out, &mut is_first, name);
        write_below(raw, &joined(base, name), field, depth, out, leaf);
    }
    out.push(b'}');
}

/// Writes the value at `path`, which is changed only where the field is on its way or leads to it.
fn write_below(
    raw: &RawValue,
    path: &str,
    field: &str,
    depth: usize,
    out: &mut Vec<u8>,
    leaf: &Leaf<'_>,
) {
    let is_touched = is_within(field, path) || is_within(path, field);
    if depth > DEPTH_MAX || !is_touched {
        out.extend_from_slice(raw.get().as_bytes());
        return;
    }
    write_value(raw, path, field, depth, out, leaf);
}

fn write_value(
    raw: &RawValue,
    path: &str,
    field: &str,
    depth: usize,
    out: &mut Vec<u8>,
    leaf: &Leaf<'_>,
) {
    match Shape::of(raw) {
        _ if depth > DEPTH_MAX => out.extend_from_slice(raw.get().as_bytes()),
        Shape::Object(members) => write_object(&members, path, field, depth + 1, out, leaf),
        Shape::Array(items) => write_items(&items, out, |item, out| {
            write_value(item, path, field, depth + 1, out, leaf);
        }),
        Shape::Leaf => {
            let before = out.len();
            leaf(raw, out);
            if out.len() == before {
                out.extend_from_slice(raw.get().as_bytes());
            }
        }
    }
}

fn write_items(
    items: &[&RawValue],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&RawValue, &mut Vec<u8>),
) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// A value as far as it has values in it.
enum Shape<'a> {
    Object(RawMembers<'a>),
    Array(Vec<&'a RawValue>),
    Leaf,
}

impl<'a> Shape<'a> {
    fn of(raw: &'a RawValue) -> Self {
        let text = raw.get();
        let read = match text.as_bytes().first() {
            Some(b'{') => serde_json::from_str(text).map(Self::Object),
            Some(b'[') => serde_json::from_str(text).map(Self::Array),
            _ => return Self::Leaf,
        };
        // It is JSON already, so it can be read.
        read.unwrap_or(Self::Leaf)
    }
}

/// Writes the document that a value names; nothing if the value stays.
fn put(leaf: &RawValue, out: &mut Vec<u8>, documents: &ForeignDocuments) {
    match id_of(leaf).and_then(|id| documents.get(&id)) {
        None => {}
        Some(None) => out.extend_from_slice(b"{}"),
        Some(Some(document)) => out.extend_from_slice(document),
    }
}

fn id_of(leaf: &RawValue) -> Option<String> {
    id_of_value(&serde_json::from_str(leaf.get()).ok()?)
}

/// The document id that a value is, if it is one.
fn id_of_value(value: &Value) -> Option<String> {
    let is_sign = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match value {
        Value::String(text) => {
            let is_id = !text.is_empty()
                && text.len() <= DOCUMENT_ID_BYTES_MAX
                && text.bytes().all(is_sign);
            is_id.then(|| text.clone())
        }
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}

/// Visits what a dotted path leads to, in whatever way its dots are read.
fn visit<'v>(object: &'v Map<String, Value>, path: &str, found: &mut dyn FnMut(&'v Value)) {
    if let Some(value) = object.get(path) {
        found(value);
    }
    for (dot, _) in path.rmatch_indices('.') {
        let (root, rest) = (&path[..dot], &path[dot + 1..]);
        match object.get(root) {
            Some(Value::Object(below)) => visit(below, rest, found),
            Some(Value::Array(items)) => {
                for below in items.iter().filter_map(Value::as_object) {
                    visit(below, rest, found);
                }
            }
            _ => {}
        }
    }
}

fn joined(base: &str, name: &str) -> String {
    if base.is_empty() {
        name.to_owned()
    } else {
        format!("{base}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn documents(list: &[(&str, Option<Value>)]) -> ForeignDocuments {
        list.iter()
            .map(|(id, document)| {
                let text = document.as_ref().map(|d| d.to_string().into_bytes());
                ((*id).to_owned(), text)
            })
            .collect()
    }

    fn key(index: &str, field: &str) -> ForeignKey {
        ForeignKey {
            index: index.to_owned(),
            field: field.to_owned(),
        }
    }

    fn ids(hits: &Value, keys: &[ForeignKey]) -> Vec<String> {
        let text = hits.to_string();
        let named = named_ids(text.as_bytes(), HitKeys::Same(keys)).unwrap();
        named.into_values().flatten().collect()
    }

    fn shown(hits: &Value, keys: HitKeys<'_>, found: &HashMap<&str, ForeignDocuments>) -> Value {
        let text = hydrated(hits.to_string().as_bytes(), keys, found).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn ids_are_named_by_the_field_and_by_one_array_in_it() {
        let hits = json!([
            {"author": "a1", "related": ["a2", 3, 1.5, "a9"], "n": {"m": -7, "o": "a9"},
             "_formatted": {"author": "a9"}, "_matchesPosition": {"author": "a9"}},
            {"related": [["a9"], {"q": "a9"}], "n": [{"m": "a4"}, {"m": ["a5"]}], "n.m": true},
            {"author": {"id": "a9"}, "n.m": "a6", "authors": "a9", "related": "a b"},
        ]);
        let keys = ["author", "related", "n.m"].map(|field| key("o", field));
        assert_eq!(ids(&hits, &keys), ["-7", "3", "a1", "a2", "a4", "a5", "a6"]);
    }

    #[test]
    fn documents_stand_wherever_in_the_field_their_ids_do_and_nothing_else_changes() {
        let hits = json!([{"id": "a1", "author": "a1", "rest": [1.0, "zz"],
            "related": {"x": ["zz", "b", 2]}, "_formatted": {"author": "a1", "id": "a1"},
            "_matchesPosition": {"author": "a1"}, "_rankingScore": 1.0}]);
        let found = documents(&[("a1", Some(json!({"name": "A"}))), ("zz", None)]);
        let keys = ["author", "related"].map(|field| key("o", field));
        assert_eq!(
            shown(&hits, HitKeys::Same(&keys), &HashMap::from([("o", found)])),
            json!([{"id": "a1", "author": {"name": "A"}, "rest": [1.0, "zz"],
                "related": {"x": [{}, "b", 2]},
                "_formatted": {"author": {"name": "A"}, "id": "a1"},
                "_matchesPosition": {"author": "a1"}, "_rankingScore": 1.0}])
        );
    }

    #[test]
    fn hits_of_several_indexes_have_the_keys_of_their_own() {
        let hits = json!([
            {"f": ["a", 1.5, "b"], "g": {"h": "d"}, "_federation": {"indexUid": "x"}},
            {"f": "b", "g": {"h": ["d"]}, "_federation": {"indexUid": "y"}},
        ]);
        let keys = HashMap::from([
            ("x".to_owned(), vec![key("o", "f"), key("o", "g")]),
            ("y".to_owned(), vec![key("o", "f"), key("p", "g.h")]),
        ]);
        let keys = HitKeys::ByIndex(&keys);
        let text = hits.to_string();
        let ids = named_ids(text.as_bytes(), keys).unwrap();
        assert_eq!(ids[&"o"].len(), 2);
        assert_eq!(ids[&"p"], BTreeSet::from(["d".to_owned()]));
        let found = HashMap::from([
            ("o", documents(&[("a", None), ("b", Some(json!({"B": 1})))])),
            ("p", documents(&[("d", Some(json!({"D": 1})))])),
        ]);
        assert_eq!(
            shown(&hits, keys, &found),
            json!([
                {"f": [{}, 1.5, {"B": 1}], "g": {"h": "d"}, "_federation": {"indexUid": "x"}},
                {"f": {"B": 1}, "g": {"h": [{"D": 1}]}, "_federation": {"indexUid": "y"}},
            ])
        );
    }

    #[test]
    fn only_what_the_other_index_displays_is_shown() {
        let document = json!({"id": 1, "x": {"y": 1, "z": 2}, "x.y": 3, "l": [{"p": 1, "q": 2}, 5, [{"p": 3}], "s"]});
        let cut = |names: &[&str]| -> Value {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let shown = displayed_only(document.to_string().as_bytes(), &names).unwrap();
            serde_json::from_slice(&shown).unwrap()
        };
        assert_eq!(cut(&["id", "zz"]), json!({"id": 1}));
        assert_eq!(cut(&["x"]), json!({"x": {"y": 1, "z": 2}}));
        assert_eq!(cut(&["x.z"]), json!({"x": {"z": 2}}));
        assert_eq!(cut(&["l.p"]), json!({"l": [{"p": 1}, 5, [{"p": 3}], "s"]}));
        assert_eq!(cut(&[]), json!({}));
    }

    /// JSON of some depth with many equal names.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "[a-c_]{1,2}".prop_map(Value::from),
            "[ é<]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[ab.]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn without_documents_the_hits_stay_byte_for_byte(
            value in any_json(), field in "[ab.]{1,3}",
        ) {
            let hits = json!([{"a": value}]);
            let text = hits.to_string();
            let keys = [key("o", &field)];
            let same = HashMap::from([("o", ForeignDocuments::new())]);
            let same = hydrated(text.as_bytes(), HitKeys::Same(&keys), &same).unwrap();
            prop_assert_eq!(String::from_utf8(same).unwrap(), text);
            // Whatever is named is replaced.
            let named = ids(&hits, &keys);
            let gone: ForeignDocuments = named.iter().map(|id| (id.clone(), None)).collect();
            let left = shown(&hits, HitKeys::Same(&keys), &HashMap::from([("o", gone)]));
            for id in ids(&left, &keys) {
                prop_assert!(!named.contains(&id), "{} is left in {}", id, left);
            }
        }
    }
}

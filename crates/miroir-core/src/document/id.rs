//! Finding the primary key and reading a document's id.

use super::DocumentError;
use crate::reserved::is_reserved;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The longest document id, in bytes.
pub const DOCUMENT_ID_BYTES_MAX: usize = 511;

/// The name of the field that holds the id. With dots in it (`a.b`) it also reaches into nested
/// objects: `{"a": {"b": 1}}` and `{"a.b": 1}` both have the id 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryKey(String);

impl PrimaryKey {
    /// Wraps the name; any text may be one.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What [`scan_document`] found; everything borrows from the document.
#[derive(Debug)]
pub struct ScannedDocument<'d> {
    /// The id as text, checked.
    pub id: Cow<'d, str>,
    /// The value of `_geo`.
    pub geo: Option<&'d RawValue>,
    /// The value of `_geojson`.
    pub geojson: Option<&'d RawValue>,
    /// The value of `_vectors`.
    pub vectors: Option<&'d RawValue>,
}

/// The primary key that Meilisearch infers from the first document of a payload: the only
/// top-level field whose name, in lower case, ends with `id`.
///
/// ```
/// use miroir_core::document::infer_primary_key;
/// let primary_key = infer_primary_key(br#"{"title":"Carol","movieID":1}"#).unwrap();
/// assert_eq!(primary_key.as_str(), "movieID");
/// ```
///
/// # Errors
/// No candidate, several, or no JSON object at all.
pub fn infer_primary_key(first_document: &[u8]) -> Result<PrimaryKey, DocumentError> {
    let mut candidates: Vec<String> = Vec::new();
    visit_members(first_document, |name, _| {
        let is_candidate = name.to_lowercase().ends_with("id");
        if is_candidate && !candidates.iter().any(|candidate| *candidate == name) {
            candidates.push(name.into_owned());
        }
    })
    .map_err(|e| DocumentError::Unreadable(e.to_string()))?;
    candidates.sort_unstable();
    let count = candidates.len();
    let mut candidates = candidates.into_iter();
    match (candidates.next(), candidates.next()) {
        (None, _) => Err(DocumentError::NoPrimaryKeyCandidate),
        (Some(name), None) => Ok(PrimaryKey(name)),
        (Some(first), Some(second)) => Err(DocumentError::MultiplePrimaryKeyCandidates {
            count,
            first,
            second,
        }),
    }
}

/// The id of a document, as text: number 1 and string `"1"` give the same.
///
/// # Errors
/// As [`scan_document`].
pub fn document_id<'d>(
    document: &'d [u8],
    primary_key: &PrimaryKey,
) -> Result<Cow<'d, str>, DocumentError> {
    Ok(scan_document(document, primary_key)?.id)
}

/// Reads a document once over its top-level fields: its id and the special ones.
///
/// # Errors
/// A reserved field, then a missing, repeated or impossible id; values that no engine can read.
pub fn scan_document<'d>(
    document: &'d [u8],
    primary_key: &PrimaryKey,
) -> Result<ScannedDocument<'d>, DocumentError> {
    let mut reserved = None;
    let mut id = Ok(None);
    let (mut geo, mut geojson, mut vectors) = (None, None, None);
    visit_members(document, |name, value| {
        if is_reserved(&name) {
            reserved.get_or_insert(name.into_owned());
            return;
        }
        match &*name {
            "_geo" => geo = Some(value),
            "_geojson" => geojson = Some(value),
            "_vectors" => vectors = Some(value),
            _ => {}
        }
        // After a first fault the rest is read but cannot mend it.
        if let (Ok(found), Some(rest)) = (&mut id, rest_of(primary_key.as_str(), &name))
            && let Err(fault) = find_id(value, rest, found)
        {
            id = Err(fault);
        }
    })
    .map_err(|e| DocumentError::Unreadable(e.to_string()))?;
    if let Some(name) = reserved {
        return Err(DocumentError::ReservedField(name));
    }
    let primary_key = || primary_key.as_str().to_owned();
    let shown = || compact(document);
    let id = match id {
        Ok(Some(id)) => id,
        Ok(None) => {
            return Err(DocumentError::MissingId {
                primary_key: primary_key(),
                document: shown(),
            });
        }
        Err(IdFault::TooMany) => {
            return Err(DocumentError::TooManyIds {
                primary_key: primary_key(),
                document: shown(),
            });
        }
        Err(IdFault::Invalid(json)) => return Err(DocumentError::InvalidId(json)),
    };
    check_readable(document)?;
    Ok(ScannedDocument {
        id,
        geo,
        geojson,
        vectors,
    })
}

enum IdFault {
    TooMany,
    Invalid(String),
}

/// What of the dotted `path` is left below a field of that name: empty when the field is the whole
/// path, `None` when the field does not lie on it.
fn rest_of<'p>(path: &'p str, field: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(field)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('.')
}

/// Looks for the id in `value`, which lies on the path; `rest` is what of the path is left.
fn find_id<'d>(
    value: &'d RawValue,
    rest: &str,
    found: &mut Option<Cow<'d, str>>,
) -> Result<(), IdFault> {
    let id = if rest.is_empty() {
        Some(read_id(value).ok_or_else(|| IdFault::Invalid(compact(value.get().as_bytes())))?)
    } else {
        let mut below = Ok(None);
        let visited = visit_members(value.get().as_bytes(), |name, value| {
            if let (Ok(found), Some(rest)) = (&mut below, rest_of(rest, &name))
                && let Err(fault) = find_id(value, rest, found)
            {
                below = Err(fault);
            }
        });
        // Anything but an object has no such field, which is no fault yet.
        if visited.is_err() { None } else { below? }
    };
    if let Some(id) = id
        && found.replace(id).is_some()
    {
        return Err(IdFault::TooMany);
    }
    Ok(())
}

/// The text of an id, or `None` if the value is none.
fn read_id(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    if text.starts_with('"') {
        let string = BorrowedText::deserialize(value).ok()?.0;
        return is_id_text(&string).then_some(string);
    }
    let is_integer = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    // JSON reads `-0` as the float it is.
    (is_integer && text != "-0").then_some(Cow::Borrowed(text))
}

fn is_id_text(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.len() <= DOCUMENT_ID_BYTES_MAX && text.bytes().all(is_allowed)
}

/// JSON as a message shows it: compact, numbers in their usual form, of repeated fields the last.
fn compact(json: &[u8]) -> String {
    match serde_json::from_slice::<Value>(json) {
        Ok(value) => value.to_string(),
        Err(_) => String::from_utf8_lossy(json).into_owned(),
    }
}

/// Refuses values that the parser of payloads lets pass as raw text and that the engine then
/// cannot read: half a surrogate pair, a number beyond a double, nesting deeper than 128. One such
/// document fails a whole task, so it must be seen before the task is cut.
///
/// Few documents hold what could be such a value at all; only those are parsed in full.
fn check_readable(document: &[u8]) -> Result<(), DocumentError> {
    if !is_suspect(document) {
        return Ok(());
    }
    match serde_json::from_slice::<Value>(document) {
        Ok(_) => Ok(()),
        Err(error) => Err(DocumentError::Unreadable(format!("internal: {error}."))),
    }
}

fn is_suspect(document: &[u8]) -> bool {
    /// The engine's parser gives up at 128; the count below also sees brackets within strings.
    const DEPTH_SAFE: usize = 120;
    /// A double reaches to 308 digits.
    const DIGITS_SAFE: usize = 300;
    let (mut depth, mut digits) = (0_usize, 0_usize);
    for (at, byte) in document.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                if digits > DIGITS_SAFE {
                    return true;
                }
                continue;
            }
            b'u' if at > 0 && document[at - 1] == b'\\' => return true,
            b'e' | b'E' if digits > 0 => return true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_SAFE {
            return true;
        }
        digits = 0;
    }
    false
}

/// Calls `visit` with each member of a JSON object, in order.
pub(super) fn visit_members<'d>(
    object: &'d [u8],
    visit: impl FnMut(Cow<'d, str>, &'d RawValue),
) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(object);
    deserializer.deserialize_map(MemberVisitor(visit))?;
    deserializer.end()
}

struct MemberVisitor<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for MemberVisitor<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(TextSeed)? {
            (self.0)(name, map.next_value()?);
        }
        Ok(())
    }
}

/// A text, borrowed unless it has escapes.
struct BorrowedText<'d>(Cow<'d, str>);

impl<'de: 'd, 'd> Deserialize<'de> for BorrowedText<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TextSeed.deserialize(deserializer).map(BorrowedText)
    }
}

struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Err(E::custom("a text that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests;

//! JSON and NDJSON.
//!
//! ```text
//!            [                  value             ,
//!  Start ─────────▶ ArrayOpen ─────────▶ ArrayNext ─────────▶ ArrayMore ── value ─▶ ArrayNext
//!    │ value            │ ]                  │ ]
//!    ▼                  └────────▶ Done ◀────┘          NDJSON: Start ── value ─▶ Start
//!  OneObject
//! ```
//!
//! What Meilisearch does is done here too, odd or not: after the closing bracket of an array the
//! rest is not read; one object alone is parsed and written anew, objects in an array keep their
//! text; of a field given twice the last value counts in JSON, while NDJSON keeps both.

use super::value::{End, Position, Scan};
use super::{PayloadError, PayloadFormat};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing but white space yet; in NDJSON: between two values.
    Start,
    /// After `[`.
    ArrayOpen,
    /// After a value of the array.
    ArrayNext,
    /// After a comma of the array.
    ArrayMore,
    /// Within a value; then comes `After`.
    Value(Scan, After),
    /// After the only object of the payload.
    OneObject,
    /// After the array.
    Done,
}

/// What a value is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Sequence,
    Array,
    Alone,
}

#[derive(Debug)]
pub(super) struct JsonSplitter {
    format: PayloadFormat,
    document_bytes_max: usize,
    state: State,
    /// The place of the next byte.
    position: Position,
    /// Where the value at hand starts.
    value_position: Position,
    /// The value at hand as far as earlier chunks hold it.
    held: Vec<u8>,
    /// A document rewritten, and the hashes of its field names; kept to allocate once.
    line: Vec<u8>,
    names: Vec<u64>,
    document_count: u64,
}

impl JsonSplitter {
    /// For an array of objects, or one object.
    pub(super) fn array(document_bytes_max: usize) -> Self {
        Self::new(PayloadFormat::Json, document_bytes_max)
    }

    /// For objects one after the other.
    pub(super) fn sequence(document_bytes_max: usize) -> Self {
        Self::new(PayloadFormat::Ndjson, document_bytes_max)
    }

    fn new(format: PayloadFormat, document_bytes_max: usize) -> Self {
        Self {
            format,
            document_bytes_max,
            state: State::Start,
            position: Position::START,
            value_position: Position::START,
            held: Vec::new(),
            line: Vec::new(),
            names: Vec::new(),
            document_count: 0,
        }
    }

    pub(super) fn document_count(&self) -> u64 {
        self.document_count
    }

    pub(super) fn push<E, S>(&mut self, mut chunk: &[u8], sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        while !chunk.is_empty() {
            let taken = match self.state {
                State::Done => return Ok(()),
                State::Value(scan, after) => self.go_on(chunk, scan, after, sink)?,
                _ => self.between(chunk)?,
            };
            chunk = &chunk[taken..];
        }
        Ok(())
    }

    pub(super) fn finish<E, S>(&mut self, sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        match self.state {
            State::Value(_, after) => {
                let held = std::mem::take(&mut self.held);
                self.value(&held, held.len(), after, sink)?;
                if after == After::Array {
                    return Err(self.malformed_here("EOF while parsing a list", 0).into());
                }
                Ok(())
            }
            State::Start if self.format == PayloadFormat::Ndjson => Ok(()),
            State::Start | State::ArrayMore => {
                Err(self.malformed_here("EOF while parsing a value", 0).into())
            }
            State::ArrayOpen | State::ArrayNext => {
                Err(self.malformed_here("EOF while parsing a list", 0).into())
            }
            State::OneObject | State::Done => Ok(()),
        }
    }

    /// Skips white space and takes a bracket or comma, or begins a value; returns the bytes taken.
    fn between(&mut self, chunk: &[u8]) -> Result<usize, PayloadError> {
        let is_space = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
        let space = chunk.iter().take_while(|b| is_space(b)).count();
        self.position.advance(&chunk[..space]);
        let Some(byte) = chunk.get(space).copied() else {
            return Ok(space);
        };
        let next = match (self.state, byte) {
            (State::Start, b'[') if self.format == PayloadFormat::Json => State::ArrayOpen,
            (State::ArrayOpen | State::ArrayNext, b']') => State::Done,
            (State::ArrayNext, b',') => State::ArrayMore,
            (State::ArrayNext, _) => return Err(self.malformed_here("expected `,` or `]`", 1)),
            (State::ArrayMore, b']') => return Err(self.malformed_here("trailing comma", 1)),
            (State::OneObject, _) => return Err(self.malformed_here("trailing characters", 1)),
            (state, _) => {
                let after = match (state, self.format) {
                    (State::Start, PayloadFormat::Json) => After::Alone,
                    (State::Start, _) => After::Sequence,
                    _ => After::Array,
                };
                self.value_position = self.position;
                self.state = State::Value(Scan::begin(byte), after);
                return Ok(space);
            }
        };
        self.position.column += 1;
        self.state = next;
        Ok(space + 1)
    }

    /// Takes in what of the value at hand is in the chunk; returns the bytes taken.
    fn go_on<E, S>(
        &mut self,
        chunk: &[u8],
        mut scan: Scan,
        after: After,
        sink: &mut S,
    ) -> Result<usize, E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        let end = scan.run(chunk, self.held.is_empty());
        // A bare word is judged with the byte that ended it, which is not taken.
        let (taken, seen) = match end {
            End::At(end) | End::Faulty(end) => (end, end),
            End::Before(end) => (end, end + 1),
            End::Beyond => (chunk.len(), chunk.len()),
        };
        if self.held.len() + taken > self.document_bytes_max {
            return Err(PayloadError::document_too_large(self.document_bytes_max).into());
        }
        self.position.advance(&chunk[..taken]);
        if matches!(end, End::Beyond) {
            self.held.extend_from_slice(chunk);
            self.state = State::Value(scan, after);
            return Ok(taken);
        }
        self.state = match after {
            After::Sequence => State::Start,
            After::Array => State::ArrayNext,
            After::Alone => State::OneObject,
        };
        if self.held.is_empty() {
            self.value(&chunk[..seen], taken, after, sink)?;
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(&chunk[..seen]);
            let value_bytes = held.len() - (seen - taken);
            self.value(&held, value_bytes, after, sink)?;
            held.clear();
            self.held = held;
        }
        Ok(taken)
    }

    /// Judges a value, the first `value_bytes` of `seen`, and hands it on.
    fn value<E, S>(
        &mut self,
        seen: &[u8],
        value_bytes: usize,
        after: After,
        sink: &mut S,
    ) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        let value = &seen[..value_bytes];
        if after == After::Alone {
            let object = self.parse_alone(seen)?;
            self.line.clear();
            serde_json::to_writer(&mut self.line, &object)
                .map_err(|e| PayloadError::no_object(e.to_string()))?;
            self.document_count += 1;
            return sink(&self.line);
        }
        let Ok(has_repeated_name) = check_object(value, &mut self.names) else {
            return Err(self.fault(seen, value, after).into());
        };
        self.document_count += 1;
        if has_repeated_name && after == After::Array {
            rewrite_with_last_values(value, &mut self.line)
                .map_err(|e| PayloadError::no_object(e.to_string()))?;
        } else if value.contains(&b'\n') {
            self.line.clear();
            self.line.extend_from_slice(value);
        } else {
            return sink(value);
        }
        remove_line_breaks(&mut self.line);
        sink(&self.line)
    }

    /// The only value of the payload as an object.
    fn parse_alone(&self, seen: &[u8]) -> Result<Map<String, Value>, PayloadError> {
        let parsed = Map::deserialize(&mut Deserializer::from_slice(seen));
        parsed.map_err(|error| {
            if error.is_data() {
                let cause = "data are neither an object nor a list of objects";
                return PayloadError::malformed_json(self.format, cause);
            }
            PayloadError::malformed_json(self.format, &self.value_position.shifted(&error))
        })
    }

    /// What is wrong with a value that is no good object. As in Meilisearch the value is first read
    /// as any JSON, a fault being placed in the whole payload, then as an object, a fault being
    /// placed in the value.
    fn fault(&self, seen: &[u8], value: &[u8], after: After) -> PayloadError {
        let mut deserializer = Deserializer::from_slice(seen);
        let raw = if after == After::Sequence {
            deserializer.into_iter::<&RawValue>().next().transpose()
        } else {
            <&RawValue>::deserialize(&mut deserializer).map(Some)
        };
        match raw {
            Err(error) => {
                let mut cause = self.value_position.shifted(&error);
                // Bytes that are no text are noticed when the whole value is read. Parsers of this
                // version place them where they stand, those in Meilisearch at the value's end.
                const NO_TEXT: &str = "invalid unicode code point";
                if cause.starts_with(NO_TEXT) && std::str::from_utf8(value).is_err() {
                    let mut end = self.value_position;
                    end.advance(value);
                    cause = format!("{NO_TEXT} at line {} column {}", end.line, end.column);
                }
                PayloadError::malformed_json(self.format, &cause)
            }
            Ok(raw) => {
                let value = raw.map_or("", RawValue::get).as_bytes();
                match check_object(value, &mut Vec::new()) {
                    Err(error) if !error.is_data() => {
                        PayloadError::malformed_json(self.format, &error.to_string())
                    }
                    Err(error) => PayloadError::no_object(error.to_string()),
                    Ok(_) => PayloadError::no_object("a value that cannot be read".to_owned()),
                }
            }
        }
    }

    /// A fault at the next byte; `column_shift` is 1 when that byte is the fault.
    fn malformed_here(&self, cause: &str, column_shift: usize) -> PayloadError {
        let (line, column) = (self.position.line, self.position.column + column_shift);
        let cause = format!("{cause} at line {line} column {column}");
        PayloadError::malformed_json(self.format, &cause)
    }
}

/// Checks that the bytes are one JSON object; returns whether two of its fields seem to have one
/// name. `names` is scratch space.
fn check_object(bytes: &[u8], names: &mut Vec<u64>) -> serde_json::Result<bool> {
    names.clear();
    let mut deserializer = Deserializer::from_slice(bytes);
    deserializer.deserialize_map(NamesVisitor(names))?;
    deserializer.end()?;
    /// Up to here comparing all pairs is faster than sorting.
    const FEW: usize = 24;
    if names.len() <= FEW {
        return Ok(names
            .iter()
            .enumerate()
            .any(|(idx, name)| names[..idx].contains(name)));
    }
    names.sort_unstable();
    Ok(names.windows(2).any(|pair| pair[0] == pair[1]))
}

struct NamesVisitor<'n>(&'n mut Vec<u64>);

impl<'de> Visitor<'de> for NamesVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(NameHash)? {
            self.0.push(name);
            // Raw, so that the text is checked to be UTF-8 and is not unescaped.
            map.next_value::<&RawValue>()?;
        }
        Ok(())
    }
}

/// Reads a field name as its hash, without allocating.
struct NameHash;

impl<'de> DeserializeSeed<'de> for NameHash {
    type Value = u64;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameHash {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<u64, E> {
        Ok(xxh3_64(name.as_bytes()))
    }
}

/// Writes the object with each field once: in its first place, with its last value.
fn rewrite_with_last_values(object: &[u8], line: &mut Vec<u8>) -> serde_json::Result<()> {
    let members: RawMembers<'_> = serde_json::from_slice(object)?;
    line.clear();
    line.push(b'{');
    for (idx, (name, value)) in members.0.iter().enumerate() {
        if idx > 0 {
            line.push(b',');
        }
        serde_json::to_writer(&mut *line, name)?;
        line.push(b':');
        line.extend_from_slice(value.get().as_bytes());
    }
    line.push(b'}');
    Ok(())
}

struct RawMembers<'d>(Vec<(String, &'d RawValue)>);

impl<'de: 'd, 'd> Deserialize<'de> for RawMembers<'d> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawMembersVisitor)
    }
}

struct RawMembersVisitor;

impl<'de> Visitor<'de> for RawMembersVisitor {
    type Value = RawMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(String, &'de RawValue)> = Vec::new();
        let mut place_by_name = std::collections::HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            let place = *place_by_name.entry(name.clone()).or_insert(members.len());
            match members.get_mut(place) {
                Some(member) => member.1 = value,
                None => members.push((name, value)),
            }
        }
        Ok(RawMembers(members))
    }
}

/// Takes the white space between the tokens of valid JSON out, in place.
fn remove_line_breaks(json: &mut Vec<u8>) {
    let (mut in_text, mut is_escaped) = (false, false);
    json.retain(|byte| {
        if in_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            return true;
        }
        in_text = *byte == b'"';
        !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
    });
}

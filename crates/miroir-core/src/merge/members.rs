//! A JSON object as a list of its members, in order, borrowing from the text.
//!
//! Hits and facets are passed on, not understood: a map would copy, sort or merge what must stay
//! as it is.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The members of an object, in the text's order, duplicates included.
#[derive(Debug, Clone)]
pub(super) struct Members<'a, T>(pub(super) Vec<(Cow<'a, str>, T)>);

/// The members of an object, each value as its text.
pub(super) type RawMembers<'a> = Members<'a, &'a RawValue>;

impl<'a, T> Members<'a, T> {
    /// The value of the first member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Members<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for MembersVisitor<'a, T> {
            type Value = Members<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor(PhantomData))
    }
}

/// A string that borrows when the text holds it without escapes. (`Cow` alone never borrows.)
#[derive(Debug, Clone)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Writes `name` and `raw` as a member of an object whose first member is still to come if
/// `is_first`, and notes that it has come.
pub(super) fn write_member(out: &mut Vec<u8>, is_first: &mut bool, name: &str, raw: &[u8]) {
    write_name(out, is_first, name);
    out.extend_from_slice(raw);
}

/// Writes the comma, the name and the colon of a member; its value is the caller's.
pub(super) fn write_name(out: &mut Vec<u8>, is_first: &mut bool, name: &str) {
    if !std::mem::take(is_first) {
        out.push(b',');
    }
    write_value(out, name);
    out.push(b':');
}

/// Writes a value as JSON.
pub(super) fn write_value<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("memory takes every byte, and the values written here have string keys only");
}

//! Splits a JSON array of document ids as it comes.
//!
//! An id is text; any other element stands for its own JSON text, as in Meilisearch. The array may
//! be far larger than memory should hold, hence no parser over the whole of it: brackets, commas
//! and quotes are followed, and each element is parsed on its own.

use crate::extract::{malformed_json, missing_payload};
use miroir_api::error::{Code, ResponseError};
use serde_json::Value;

/// The largest element, in bytes. Ids are short; this bounds what a hostile body may gather.
const ELEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Where in the array the next byte is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the array.
    #[default]
    Start,
    /// After `[`: an element or `]`.
    First,
    /// After a comma: an element.
    Element,
    /// In an element; its own depth of brackets.
    Inside { depth: usize },
    /// In a text of an element.
    Text { depth: usize, is_escaped: bool },
    /// After the array.
    End,
    /// It is no array: gathered, to say what it is.
    NoArray,
}

/// Splits one array; fed in chunks of any size.
#[derive(Debug, Default)]
pub(super) struct IdSplitter {
    state: State,
    element: Vec<u8>,
    line: usize,
    column: usize,
    count: u64,
}

impl IdSplitter {
    /// Reads a chunk; `emit` gets each id that ends in it.
    ///
    /// # Errors
    /// The body is no JSON array, or an element is no JSON.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        emit: &mut impl FnMut(&str),
    ) -> Result<(), ResponseError> {
        for &byte in chunk {
            if byte == b'\n' {
                self.line += 1;
                self.column = 0;
            } else {
                self.column += 1;
            }
            self.step(byte, emit)?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, emit: &mut impl FnMut(&str)) -> Result<(), ResponseError> {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Start | State::First | State::Element | State::End, _) if is_blank => {
                self.state
            }
            (State::Start, b'[') => State::First,
            (State::Start | State::NoArray, _) => {
                self.gather(byte)?;
                State::NoArray
            }
            (State::First, b']') => State::End,
            (State::First | State::Element, b',' | b']' | b'}' | b':') => {
                return Err(self.malformed("expected value"));
            }
            (State::First | State::Element, _) => self.inside(byte, 0)?,
            (State::Inside { depth: 0 }, b',' | b']') => {
                self.end_element(emit)?;
                if byte == b',' {
                    State::Element
                } else {
                    State::End
                }
            }
            (State::Inside { depth }, _) => self.inside(byte, depth)?,
            (State::Text { depth, is_escaped }, _) => {
                self.gather(byte)?;
                match byte {
                    b'"' if !is_escaped => State::Inside { depth },
                    b'\\' => State::Text {
                        depth,
                        is_escaped: !is_escaped,
                    },
                    _ => State::Text {
                        depth,
                        is_escaped: false,
                    },
                }
            }
            (State::End, _) => return Err(self.malformed("trailing characters")),
        };
        Ok(())
    }

    /// A byte of an element outside its texts.
    fn inside(&mut self, byte: u8, depth: usize) -> Result<State, ResponseError> {
        self.gather(byte)?;
        Ok(match byte {
            b'"' => State::Text {
                depth,
                is_escaped: false,
            },
            b'[' | b'{' => State::Inside { depth: depth + 1 },
            b']' | b'}' => State::Inside {
                depth: depth.saturating_sub(1),
            },
            _ => State::Inside { depth },
        })
    }

    fn gather(&mut self, byte: u8) -> Result<(), ResponseError> {
        if self.element.len() >= ELEMENT_BYTES_MAX {
            return Err(self.malformed("an element is too long to be a document id"));
        }
        self.element.push(byte);
        Ok(())
    }

    fn end_element(&mut self, emit: &mut impl FnMut(&str)) -> Result<(), ResponseError> {
        match serde_json::from_slice(&self.element) {
            Ok(Value::String(id)) => emit(&id),
            Ok(other) => emit(&other.to_string()),
            Err(_) => return Err(self.malformed("expected value")),
        }
        self.element.clear();
        self.count += 1;
        Ok(())
    }

    /// Ends the array; returns how many ids it had.
    ///
    /// # Errors
    /// It has no end, or there was none.
    pub(super) fn finish(self) -> Result<u64, ResponseError> {
        match self.state {
            State::End => Ok(self.count),
            State::Start if self.line == 0 && self.column == 0 => Err(missing_payload("json")),
            State::Start | State::Element => Err(self.malformed("EOF while parsing a value")),
            State::NoArray => Err(self.no_array()),
            State::First | State::Inside { .. } => Err(self.malformed("EOF while parsing a list")),
            State::Text { .. } => Err(self.malformed("EOF while parsing a string")),
        }
    }

    /// What the parser says of a body that is no array.
    fn no_array(&self) -> ResponseError {
        match serde_json::from_slice::<Vec<Value>>(&self.element) {
            Err(error) if error.is_data() => {
                ResponseError::new(Code::BadRequest, format!("Json deserialize error: {error}"))
            }
            Err(error) => malformed_json(error),
            Ok(_) => self.malformed("expected value"),
        }
    }

    fn malformed(&self, cause: &str) -> ResponseError {
        malformed_json(format_args!(
            "{cause} at line {} column {}",
            self.line + 1,
            self.column
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(body: &[u8], chunk_bytes: usize) -> Result<Vec<String>, (String, String)> {
        let mut ids = Vec::new();
        let mut splitter = IdSplitter::default();
        let mut run = || {
            for chunk in body.chunks(chunk_bytes) {
                splitter.push(chunk, &mut |id| ids.push(id.to_owned()))?;
            }
            std::mem::take(&mut splitter).finish()
        };
        match run() {
            Ok(count) => {
                assert_eq!(count, ids.len() as u64);
                Ok(ids)
            }
            Err(error) => Err((error.code.into_owned(), error.message)),
        }
    }

    #[test]
    fn ids_are_text_and_the_rest_becomes_text() {
        let body = br#" [ "a", 1 , -2.50, null, true, {"b": [1, "]"]}, "\"," ] "#;
        for chunk_bytes in [1, 3, 1000] {
            assert_eq!(
                split(body, chunk_bytes),
                Ok(
                    ["a", "1", "-2.5", "null", "true", r#"{"b":[1,"]"]}"#, "\","]
                        .map(str::to_owned)
                        .to_vec()
                )
            );
        }
        assert_eq!(split(b"[]", 1), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_array_is_refused_in_meilisearch_words() {
        let check = |body: &str, code: &str, message: &str| {
            assert_eq!(
                split(body.as_bytes(), 2),
                Err((code.to_owned(), message.to_owned()))
            );
        };
        check("", "missing_payload", "A json payload is missing.");
        check(
            "\"doggo\"",
            "bad_request",
            "Json deserialize error: invalid type: string \"doggo\", expected a sequence at line 1 \
             column 7",
        );
        let malformed = |body: &str, cause: &str| {
            let message = format!("The json payload provided is malformed. `{cause}`.");
            check(body, "malformed_payload", &message);
        };
        malformed("[1,", "EOF while parsing a value at line 1 column 3");
        malformed("[1", "EOF while parsing a list at line 1 column 2");
        malformed("[1,]", "expected value at line 1 column 4");
        malformed("[,]", "expected value at line 1 column 2");
        malformed("[\"a", "EOF while parsing a string at line 1 column 3");
        malformed("[1]\n x", "trailing characters at line 2 column 2");
        malformed("[1 2]", "expected value at line 1 column 5");
        malformed("doggo", "expected value at line 1 column 1");
    }

    #[test]
    fn an_endless_element_is_refused_before_it_fills_the_memory() {
        let mut body = b"[\"".to_vec();
        body.resize(ELEMENT_BYTES_MAX + 10, b'a');
        assert!(split(&body, 4096).is_err());
    }

    proptest! {
        #[test]
        fn any_chunking_of_any_array_gives_its_elements(
            ids in proptest::collection::vec(
                prop_oneof![
                    any::<String>().prop_map(Value::String),
                    any::<i64>().prop_map(Value::from),
                    proptest::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
                ],
                0..20,
            ),
            chunk_bytes in 1_usize..50,
            is_pretty in any::<bool>(),
        ) {
            let body = if is_pretty {
                serde_json::to_string_pretty(&ids)
            } else {
                serde_json::to_string(&ids)
            };
            let expected = ids
                .iter()
                .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned))
                .collect();
            prop_assert_eq!(split(body.unwrap().as_bytes(), chunk_bytes), Ok(expected));
        }
    }
}

//! Reads a query string parameter by parameter and words what is wrong as Meilisearch does.
//!
//! A query string only holds text, so numbers, booleans and lists are read out of it here. The
//! last of several parameters of one name wins, as the caller assigns them in order.

use crate::error::{Code, ResponseError};
use crate::validate::{backticked, did_you_mean};
use std::fmt;

/// The parameters of a query string (without its `?`), decoded, in order. A parameter without `=`
/// has an empty value.
#[must_use]
pub fn parameters(raw: &str) -> Vec<(String, String)> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(name), decode_form(value))
        })
        .collect()
}

/// Form decoding: `+` is a space and `%XX` a byte. What is no valid escape stays as it is, what is
/// no UTF-8 becomes U+FFFD, as browsers do.
fn decode_form(text: &str) -> String {
    decode(text, true)
}

/// Decodes a segment of a path: `%XX` is a byte, `+` is itself.
#[must_use]
pub fn decode_path(text: &str) -> String {
    decode(text, false)
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escape = (bytes[i] == b'%')
            .then(|| {
                Some((
                    hex_digit(*bytes.get(i + 1)?)?,
                    hex_digit(*bytes.get(i + 2)?)?,
                ))
            })
            .flatten();
        match (bytes[i], escape) {
            (_, Some((high, low))) => {
                decoded.push(high * 16 + low);
                i += 3;
            }
            (b'+', None) if plus_is_space => {
                decoded.push(b' ');
                i += 1;
            }
            (byte, None) => {
                decoded.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(decoded)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A csv parameter: a list, or `*` for no restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StarOrList<T> {
    /// `*` was among the elements.
    Star,
    /// The elements.
    List(Vec<T>),
}

impl<T> StarOrList<T> {
    /// The elements; `None` for no restriction.
    #[must_use]
    pub fn into_restriction(self) -> Option<Vec<T>> {
        match self {
            Self::Star => None,
            Self::List(elements) => Some(elements),
        }
    }
}

/// One parameter: its name, its value and the code its mistakes get.
#[derive(Debug, Clone, Copy)]
pub struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
    index: Option<usize>,
    code: Code,
}

impl<'a> Parameter<'a> {
    /// A parameter as it was given.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a str, code: Code) -> Self {
        Self {
            name,
            value,
            index: None,
            code,
        }
    }

    /// The value as it stands.
    #[must_use]
    pub const fn value(&self) -> &'a str {
        self.value
    }

    /// The value is wrong, for this reason.
    #[must_use]
    pub fn invalid(&self, reason: impl fmt::Display) -> ResponseError {
        let name = self.name;
        let message = match self.index {
            Some(index) => format!("Invalid value in parameter `{name}[{index}]`: {reason}"),
            None => format!("Invalid value in parameter `{name}`: {reason}"),
        };
        ResponseError::new(self.code, message)
    }

    /// The value as a size.
    ///
    /// # Errors
    /// It is no integer from 0.
    pub fn size(&self) -> Result<usize, ResponseError> {
        self.value.parse().map_err(|_| self.not_an_integer())
    }

    /// The value as a uid of tasks or batches.
    ///
    /// # Errors
    /// It is no integer from 0 that fits 32 bits.
    pub fn uid(&self) -> Result<u32, ResponseError> {
        self.value.parse().map_err(|_| self.not_an_integer())
    }

    fn not_an_integer(&self) -> ResponseError {
        self.invalid(format_args!(
            "could not parse `{}` as a positive integer",
            self.value
        ))
    }

    /// The value as a boolean: exactly `true` or `false`.
    ///
    /// # Errors
    /// It is neither.
    pub fn boolean(&self) -> Result<bool, ResponseError> {
        self.value.parse().map_err(|_| {
            self.invalid(format_args!(
                "could not parse `{}` as a boolean, expected either `true` or `false`",
                self.value
            ))
        })
    }

    /// The value, one of `accepted`.
    ///
    /// # Errors
    /// It is another text.
    pub fn one_of(&self, accepted: &[&'static str]) -> Result<&'static str, ResponseError> {
        if let Some(found) = accepted.iter().find(|accepted| **accepted == self.value) {
            return Ok(found);
        }
        let message = format!(
            "Unknown value `{}` for parameter `{}`: {}expected one of {}",
            self.value,
            self.name,
            did_you_mean(self.value, accepted),
            backticked(accepted)
        );
        Err(ResponseError::new(self.code, message))
    }

    /// The comma-separated elements; empty ones do not count.
    #[must_use]
    pub fn list(&self) -> Vec<String> {
        self.elements().map(str::to_owned).collect()
    }

    fn elements(&self) -> impl Iterator<Item = &'a str> {
        self.value.split(',').filter(|element| !element.is_empty())
    }

    /// The comma-separated elements, each read by `read`; `*` among them lifts the restriction,
    /// after all others were checked.
    ///
    /// # Errors
    /// Those of `read`; the position is told when there are several elements.
    pub fn star_or_list<T>(
        &self,
        read: impl Fn(&Parameter<'_>) -> Result<T, ResponseError>,
    ) -> Result<StarOrList<T>, ResponseError> {
        let elements: Vec<&str> = self.elements().collect();
        let mut list = Vec::with_capacity(elements.len());
        let mut is_star = false;
        for (position, element) in elements.iter().enumerate() {
            if *element == "*" {
                is_star = true;
                continue;
            }
            let index = (elements.len() > 1).then_some(position);
            list.push(read(&Parameter {
                value: element,
                index,
                ..*self
            })?);
        }
        Ok(if is_star {
            StarOrList::Star
        } else {
            StarOrList::List(list)
        })
    }
}

/// The query string has a parameter that the route does not know.
#[must_use]
pub fn unknown_parameter(name: &str, accepted: &[&str]) -> ResponseError {
    let message = if accepted.is_empty() {
        format!("Unknown parameter `{name}`: no parameter is expected here")
    } else {
        format!(
            "Unknown parameter `{name}`: {}expected one of {}",
            did_you_mean(name, accepted),
            backticked(accepted)
        )
    };
    ResponseError::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_in_order() {
        assert_eq!(
            parameters("q=a+b%20c&empty&x=%F0%9F%8D%B0&bad=%zz&&"),
            [
                ("q".to_owned(), "a b c".to_owned()),
                ("empty".to_owned(), String::new()),
                ("x".to_owned(), "🍰".to_owned()),
                ("bad".to_owned(), "%zz".to_owned()),
            ]
        );
        assert_eq!(decode_path("a+b%2Fc"), "a+b/c");
        assert_eq!(decode_path("%"), "%");
    }

    #[test]
    fn numbers_and_booleans_are_refused_in_meilisearch_words() {
        let parameter = Parameter::new("offset", "doggo", Code::InvalidDocumentOffset);
        assert_eq!(
            parameter.size().expect_err("no number").message,
            "Invalid value in parameter `offset`: could not parse `doggo` as a positive integer"
        );
        let parameter = Parameter::new("reverse", "*", Code::InvalidTaskReverse);
        assert_eq!(
            parameter.boolean().expect_err("no boolean").message,
            "Invalid value in parameter `reverse`: could not parse `*` as a boolean, expected \
             either `true` or `false`"
        );
    }

    #[test]
    fn a_list_tells_the_position_only_if_it_is_long() {
        let read = |value| {
            Parameter::new("uids", value, Code::InvalidTaskUids)
                .star_or_list(|element| element.uid())
        };
        assert_eq!(read("1,2"), Ok(StarOrList::List(vec![1, 2])));
        assert_eq!(read("1,*"), Ok(StarOrList::Star));
        assert_eq!(read(",,1,,2,"), Ok(StarOrList::List(vec![1, 2])));
        assert_eq!(read(""), Ok(StarOrList::List(Vec::new())));
        assert_eq!(
            read("doggo").expect_err("no uid").message,
            "Invalid value in parameter `uids`: could not parse `doggo` as a positive integer"
        );
        assert_eq!(
            read("1,dogo").expect_err("no uid").message,
            "Invalid value in parameter `uids[1]`: could not parse `dogo` as a positive integer"
        );
    }
}

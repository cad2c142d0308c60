//! Document payloads: JSON, NDJSON and CSV become concatenated JSON objects, checked on the way.

use crate::error::ApiError;
use crate::http::body::content_type;
use crate::http::object::quoted;
use csv::StringRecord;
use http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Longest cause told in a message; longer ones are cut in the middle.
const CAUSE_CHARS_MAX: usize = 100;

/// The three formats of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv { delimiter: u8 },
}

/// Checked documents.
pub(crate) struct Documents {
    /// Concatenated JSON objects.
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
}

impl Format {
    const ACCEPTED: [&str; 3] = ["application/json", "application/x-ndjson", "text/csv"];

    /// The format a request says its documents have.
    pub(crate) fn of_request(
        headers: &HeaderMap,
        csv_delimiter: Option<&str>,
    ) -> Result<Self, ApiError> {
        let accepted = format!(
            "Accepted values for the Content-Type header are: {}",
            quoted(&Self::ACCEPTED)
        );
        let Some(content_type) = content_type(headers) else {
            return Err(ApiError::new(
                "missing_content_type",
                format!("A Content-Type header is missing. {accepted}"),
            ));
        };
        match (content_type.as_str(), csv_delimiter) {
            ("application/json", None) => Ok(Format::Json),
            ("application/x-ndjson", None) => Ok(Format::Ndjson),
            ("text/csv", delimiter) => Ok(Format::Csv {
                delimiter: check_delimiter(delimiter)?,
            }),
            ("application/json" | "application/x-ndjson", Some(_)) => Err(ApiError::new(
                "invalid_content_type",
                format!(
                    "The Content-Type `{content_type}` does not support the use of a csv \
                     delimiter. The csv delimiter can only be used with the Content-Type `text/csv`."
                ),
            )),
            _ => Err(ApiError::new(
                "invalid_content_type",
                format!("The Content-Type `{content_type}` is invalid. {accepted}"),
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Csv { .. } => "csv",
        }
    }

    /// Reads a payload.
    pub(crate) fn read(self, payload: &[u8]) -> Result<Documents, ApiError> {
        if payload.is_empty() {
            let message = format!("A {} payload is missing.", self.name());
            return Err(ApiError::new("missing_payload", message));
        }
        match self {
            Format::Json => read_json(payload),
            Format::Ndjson => read_ndjson(payload),
            Format::Csv { delimiter } => read_csv(payload, delimiter),
        }
        .map_err(|cause| self.malformed(&cause))
    }

    fn malformed(self, cause: &str) -> ApiError {
        let cause = shortened(cause);
        let message = match self {
            Format::Csv { .. } => {
                format!("The `csv` payload provided is malformed: `{cause}`.")
            }
            Format::Json | Format::Ndjson => format!(
                "The `{}` payload provided is malformed. `Couldn't serialize document value: \
                 {cause}`.",
                self.name()
            ),
        };
        ApiError::new("malformed_payload", message)
    }
}

fn read_json(payload: &[u8]) -> Result<Documents, String> {
    let start = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    let documents: Vec<&RawValue> = match start {
        Some(b'[') => serde_json::from_slice(payload).map_err(|error| error.to_string())?,
        _ => vec![serde_json::from_slice(payload).map_err(|error| error.to_string())?],
    };
    concatenate(documents.into_iter().map(Ok))
}

fn read_ndjson(payload: &[u8]) -> Result<Documents, String> {
    let documents = serde_json::Deserializer::from_slice(payload).into_iter::<&RawValue>();
    concatenate(documents.map(|document| document.map_err(|error| error.to_string())))
}

fn concatenate<'a>(
    documents: impl Iterator<Item = Result<&'a RawValue, String>>,
) -> Result<Documents, String> {
    let mut joined = Documents {
        bytes: Vec::new(),
        count: 0,
    };
    for document in documents {
        let text = document?.get();
        if !text.starts_with('{') {
            return Err(format!("invalid type: {}, expected a map", kind_of(text)));
        }
        joined.bytes.extend_from_slice(text.as_bytes());
        joined.bytes.push(b'\n');
        joined.count += 1;
    }
    Ok(joined)
}

/// How the JSON reader would name a value that is no object.
fn kind_of(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Null) => "null".to_owned(),
        Ok(Value::Bool(value)) => format!("boolean `{value}`"),
        Ok(Value::Number(value)) if value.is_f64() => format!("floating point `{value}`"),
        Ok(Value::Number(value)) => format!("integer `{value}`"),
        Ok(Value::String(value)) => format!("string {value:?}"),
        Ok(Value::Array(_)) => "sequence".to_owned(),
        Ok(Value::Object(_)) | Err(_) => "map".to_owned(),
    }
}

/// The type of a CSV column.
#[derive(Clone, Copy)]
enum Cell {
    String,
    Number,
    Boolean,
}

fn read_csv(payload: &[u8], delimiter: u8) -> Result<Documents, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(payload);
    let headers = reader.headers().map_err(|error| error.to_string())?;
    let columns: Vec<(String, Cell)> = headers.iter().map(column_of).collect();
    let mut joined = Documents {
        bytes: Vec::new(),
        count: 0,
    };
    let mut row = StringRecord::new();
    while reader
        .read_record(&mut row)
        .map_err(|error| error.to_string())?
    {
        let mut document = Map::new();
        for ((name, cell), text) in columns.iter().zip(&row) {
            document.insert(name.clone(), cell_value(*cell, text, joined.count)?);
        }
        serde_json::to_writer(&mut joined.bytes, &document).map_err(|error| error.to_string())?;
        joined.bytes.push(b'\n');
        joined.count += 1;
    }
    Ok(joined)
}

fn column_of(header: &str) -> (String, Cell) {
    match header.rsplit_once(':') {
        Some((name, "string")) => (name.to_owned(), Cell::String),
        Some((name, "number")) => (name.to_owned(), Cell::Number),
        Some((name, "boolean")) => (name.to_owned(), Cell::Boolean),
        // An unknown type is part of the name.
        _ => (header.to_owned(), Cell::String),
    }
}

fn cell_value(cell: Cell, text: &str, row: u64) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    match cell {
        Cell::String => Ok(Value::from(text)),
        Cell::Number => {
            let number = text.trim();
            let integer = number.parse::<i64>().map(Value::from);
            integer
                .or_else(|_| number.parse::<f64>().map(Value::from))
                .map_err(|error| {
                    // The header is line 1.
                    format!("Error parsing number {text:?} at line {}: {error}", row + 2)
                })
        }
        Cell::Boolean => text.parse::<bool>().map(Value::from).map_err(|error| {
            format!(
                "Error parsing boolean {text:?} at line {}: {error}",
                row + 2
            )
        }),
    }
}

fn check_delimiter(delimiter: Option<&str>) -> Result<u8, ApiError> {
    let invalid = |reason: &str| {
        ApiError::new(
            "invalid_document_csv_delimiter",
            format!("Invalid value in parameter `csvDelimiter`: {reason}"),
        )
    };
    match delimiter.map(str::as_bytes) {
        None => Ok(b','),
        Some([]) => Err(invalid(
            "expected a string of one character, but found an empty string",
        )),
        Some([byte]) if byte.is_ascii() => Ok(*byte),
        Some(_) => Err(invalid(&format!(
            "expected a string of one ASCII character, but found: `{}`",
            delimiter.unwrap_or_default()
        ))),
    }
}

/// The start and the end of a long text.
fn shortened(cause: &str) -> String {
    let count = cause.chars().count();
    if count <= CAUSE_CHARS_MAX {
        return cause.to_owned();
    }
    let half = CAUSE_CHARS_MAX / 2;
    let start: String = cause.chars().take(half).collect();
    let end: String = cause.chars().skip(count - half).collect();
    format!("{start} ... {end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, payload: &str) -> Result<(String, u64), &'static str> {
        let documents = format
            .read(payload.as_bytes())
            .map_err(|error| error.code)?;
        Ok((String::from_utf8(documents.bytes).unwrap(), documents.count))
    }

    #[test]
    fn json_is_an_array_or_one_object() {
        let both = Ok(("{\"a\":1}\n{\"a\":1.50}\n".to_owned(), 2));
        assert_eq!(read(Format::Json, " [{\"a\":1}, {\"a\":1.50}]"), both);
        assert_eq!(
            read(Format::Json, "{\"a\":1}"),
            Ok(("{\"a\":1}\n".to_owned(), 1))
        );
        assert_eq!(read(Format::Json, "[]"), Ok((String::new(), 0)));
        assert_eq!(read(Format::Ndjson, "{\"a\":1}\n\n{\"a\":1.50}"), both);
    }

    #[test]
    fn what_is_no_document_is_malformed() {
        for payload in ["[1]", "\"a\"", "[{}", "{", "[{\"a\":01}]", "null", "[[]]"] {
            assert_eq!(
                read(Format::Json, payload),
                Err("malformed_payload"),
                "{payload}"
            );
        }
        assert_eq!(read(Format::Ndjson, "[{}]"), Err("malformed_payload"));
        assert_eq!(read(Format::Json, ""), Err("missing_payload"));
    }

    #[test]
    fn csv_cells_have_the_types_of_their_headers() {
        let csv = Format::Csv { delimiter: b',' };
        let payload = "id:number,name,ok:boolean,a:b\n1,x,true,\n-2.5,\"y,z\",false,4\n";
        let expected = "{\"id\":1,\"name\":\"x\",\"ok\":true,\"a:b\":null}\n\
                        {\"id\":-2.5,\"name\":\"y,z\",\"ok\":false,\"a:b\":\"4\"}\n";
        assert_eq!(read(csv, payload), Ok((expected.to_owned(), 2)));
        assert_eq!(read(csv, "id:number\nx\n"), Err("malformed_payload"));
        assert_eq!(read(csv, "id,name\n1\n"), Err("malformed_payload"));
        let semicolon = Format::Csv { delimiter: b';' };
        assert_eq!(
            read(semicolon, "a;b\n1;2\n").unwrap().0,
            "{\"a\":\"1\",\"b\":\"2\"}\n"
        );
    }
}

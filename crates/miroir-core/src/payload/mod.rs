//! Splitting a payload into documents while it arrives: JSON, NDJSON and CSV, in bounded memory.
//!
//! A [`Splitter`] is fed with the bytes as they come and hands on each document as one line of JSON,
//! so a payload of any size becomes an NDJSON file with no more memory than its largest document.
//! It accepts, refuses and words its refusals as Meilisearch 1.50 does; the place of a fault is
//! that in the whole payload. It does no IO and looks into no document.
//!
//! Law: however the bytes are chunked, the documents and the error are the same.

mod csv;
mod error;
mod json;
mod value;

pub use error::PayloadError;

use csv::CsvSplitter;
use json::JsonSplitter;

/// The largest document taken unless configured otherwise: larger ones are surely a mistake, and a
/// few at a time must fit in memory.
pub const DOCUMENT_BYTES_MAX: usize = 100 * 1024 * 1024;

/// How a payload is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// An array of objects, or one object.
    Json,
    /// Objects one after the other.
    Ndjson,
    /// A table; the first row names the fields.
    Csv {
        /// The ASCII character between two cells.
        delimiter: u8,
    },
}

impl PayloadFormat {
    /// The word that messages use for the format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        }
    }
}

/// Cuts one payload into documents.
///
/// ```
/// use miroir_core::payload::{PayloadError, Splitter};
/// let mut lines: Vec<String> = Vec::new();
/// let mut sink = |document: &[u8]| -> Result<(), PayloadError> {
///     lines.push(String::from_utf8_lossy(document).into_owned());
///     Ok(())
/// };
/// let mut splitter = Splitter::json(1024);
/// splitter.push(br#"[{"id": 1}, {"#, &mut sink)?;
/// splitter.push(br#""id": 2}]"#, &mut sink)?;
/// assert_eq!(splitter.finish(&mut sink)?, 2);
/// assert_eq!(lines, [r#"{"id": 1}"#, r#"{"id": 2}"#]);
/// # Ok::<(), PayloadError>(())
/// ```
#[derive(Debug)]
pub struct Splitter {
    format: PayloadFormat,
    inner: Inner,
    has_bytes: bool,
}

#[derive(Debug)]
enum Inner {
    Json(JsonSplitter),
    Csv(Box<CsvSplitter>),
}

impl Splitter {
    /// A splitter for a payload whose documents have at most `document_bytes_max` bytes each.
    #[must_use]
    pub fn new(format: PayloadFormat, document_bytes_max: usize) -> Self {
        let inner = match format {
            PayloadFormat::Json => Inner::Json(JsonSplitter::array(document_bytes_max)),
            PayloadFormat::Ndjson => Inner::Json(JsonSplitter::sequence(document_bytes_max)),
            PayloadFormat::Csv { delimiter } => {
                Inner::Csv(Box::new(CsvSplitter::new(delimiter, document_bytes_max)))
            }
        };
        Self {
            format,
            inner,
            has_bytes: false,
        }
    }

    /// A splitter for [`PayloadFormat::Json`].
    #[must_use]
    pub fn json(document_bytes_max: usize) -> Self {
        Self::new(PayloadFormat::Json, document_bytes_max)
    }

    /// A splitter for [`PayloadFormat::Ndjson`].
    #[must_use]
    pub fn ndjson(document_bytes_max: usize) -> Self {
        Self::new(PayloadFormat::Ndjson, document_bytes_max)
    }

    /// A splitter for [`PayloadFormat::Csv`].
    #[must_use]
    pub fn csv(delimiter: u8, document_bytes_max: usize) -> Self {
        Self::new(PayloadFormat::Csv { delimiter }, document_bytes_max)
    }

    /// Takes the next bytes in and hands each document completed by them to `sink`: the text of one
    /// JSON object without line breaks.
    ///
    /// # Errors
    /// [`PayloadError`], or what `sink` returned. The splitter is of no use after either.
    pub fn push<E, S>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        self.has_bytes |= !chunk.is_empty();
        match &mut self.inner {
            Inner::Json(splitter) => splitter.push(chunk, sink),
            Inner::Csv(splitter) => splitter.push(chunk, sink),
        }
    }

    /// Takes the end of the payload in; returns the number of documents.
    ///
    /// # Errors
    /// [`PayloadError`] if the payload is empty or ends too early, or what `sink` returned.
    pub fn finish<E, S>(mut self, sink: &mut S) -> Result<u64, E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        if !self.has_bytes {
            return Err(PayloadError::missing(self.format).into());
        }
        match &mut self.inner {
            Inner::Json(splitter) => splitter.finish(sink)?,
            Inner::Csv(splitter) => splitter.finish(sink)?,
        }
        Ok(self.document_count())
    }

    /// The documents handed on so far.
    #[must_use]
    pub fn document_count(&self) -> u64 {
        match &self.inner {
            Inner::Json(splitter) => splitter.document_count(),
            Inner::Csv(splitter) => splitter.document_count(),
        }
    }
}

#[cfg(test)]
mod tests;

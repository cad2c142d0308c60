//! CSV: the first row names the fields, each further row is a document.
//!
//! A header cell is `name`, or `name:string`, `name:number`, `name:boolean`. Empty cells are null.
//! The rules of the table itself (quotes, line ends, blank lines) are those of the `csv` crates,
//! which Meilisearch uses too; so are the texts of the errors, written here because the reader that
//! takes chunks reports none.

use super::PayloadError;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::Value;
use std::fmt;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CellType {
    String,
    Number,
    Boolean,
}

/// A column: its type, and where in the document its value goes. Columns of one name share a place,
/// the last one wins.
#[derive(Debug)]
struct Column {
    cell_type: CellType,
    place: usize,
}

/// Where a record starts, as error texts show it.
#[derive(Debug, Clone, Copy)]
struct RecordStart {
    record: u64,
    line: u64,
    byte: u64,
}

pub(super) struct CsvSplitter {
    reader: Reader,
    document_bytes_max: usize,
    /// The first bytes, until there are enough to tell a byte order mark.
    head: Option<Vec<u8>>,
    /// The cells of the record at hand one after the other, as far as `output_len`.
    output: Vec<u8>,
    output_len: usize,
    /// The ends of the cells in `output`, as far as `end_count`.
    ends: Vec<usize>,
    end_count: usize,
    byte: u64,
    start: RecordStart,
    /// `None` until the header is read.
    columns: Option<Vec<Column>>,
    /// The names with their quotes and colon, by place.
    names: Vec<Vec<u8>>,
    /// The values of the document at hand, by place.
    values: Vec<Vec<u8>>,
    line: Vec<u8>,
    document_count: u64,
}

impl fmt::Debug for CsvSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvSplitter")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl CsvSplitter {
    pub(super) fn new(delimiter: u8, document_bytes_max: usize) -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            document_bytes_max,
            head: Some(Vec::new()),
            output: vec![0; 4096],
            output_len: 0,
            ends: vec![0; 64],
            end_count: 0,
            byte: 0,
            start: RecordStart {
                record: 0,
                line: 1,
                byte: 0,
            },
            columns: None,
            names: Vec::new(),
            values: Vec::new(),
            line: Vec::new(),
            document_count: 0,
        }
    }

    pub(super) fn document_count(&self) -> u64 {
        self.document_count
    }

    pub(super) fn push<E, S>(&mut self, chunk: &[u8], sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        let Some(mut head) = self.head.take() else {
            return self.read(chunk, false, sink);
        };
        head.extend_from_slice(chunk);
        if head.len() < BYTE_ORDER_MARK.len() {
            self.head = Some(head);
            return Ok(());
        }
        self.read(&head, false, sink)
    }

    pub(super) fn finish<E, S>(&mut self, sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        if let Some(head) = self.head.take() {
            self.read(&head, false, sink)?;
        }
        self.read(&[], true, sink)
    }

    fn read<E, S>(&mut self, mut input: &[u8], is_end: bool, sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        // No bytes mean the end to the reader, so it is only called without any at the end.
        while !input.is_empty() || is_end {
            let (result, taken, written, ended) = self.reader.read_record(
                input,
                &mut self.output[self.output_len..],
                &mut self.ends[self.end_count..],
            );
            input = &input[taken..];
            self.byte += taken as u64;
            self.output_len += written;
            self.end_count += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => {
                    if self.output.len() >= self.document_bytes_max {
                        let error = PayloadError::document_too_large(self.document_bytes_max);
                        return Err(error.into());
                    }
                    let len = self.output.len() * 2;
                    self.output.resize(len.min(self.document_bytes_max), 0);
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => self.record(sink)?,
                ReadRecordResult::End => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes a whole record in and gets ready for the next.
    fn record<E, S>(&mut self, sink: &mut S) -> Result<(), E>
    where
        E: From<PayloadError>,
        S: FnMut(&[u8]) -> Result<(), E>,
    {
        match &self.columns {
            None => self.header()?,
            Some(columns) => {
                let (expected, found) = (columns.len(), self.end_count);
                if expected != found {
                    let RecordStart { record, line, byte } = self.start;
                    return Err(PayloadError::malformed_csv(&format!(
                        "CSV error: record {record} (line: {line}, byte: {byte}): found record \
                         with {found} fields, but the previous record has {expected} fields"
                    ))
                    .into());
                }
                self.document()?;
                self.document_count += 1;
                sink(&self.line)?;
            }
        }
        self.output_len = 0;
        self.end_count = 0;
        let record = self.start.record + 1;
        self.start = RecordStart {
            record,
            line: self.reader.line(),
            byte: self.byte,
        };
        Ok(())
    }

    fn header(&mut self) -> Result<(), PayloadError> {
        let mut columns = Vec::with_capacity(self.end_count);
        let mut known: Vec<&str> = Vec::new();
        for cell in self.cells()? {
            let (name, cell_type) = parse_header(cell);
            let place = known
                .iter()
                .position(|other| *other == name)
                .unwrap_or(known.len());
            if place == known.len() {
                known.push(name);
            }
            columns.push(Column { cell_type, place });
        }
        let names = known.iter().map(|name| {
            let mut text = Value::from(*name).to_string().into_bytes();
            text.push(b':');
            text
        });
        let names: Vec<Vec<u8>> = names.collect();
        self.values = vec![Vec::new(); names.len()];
        self.names = names;
        self.columns = Some(columns);
        Ok(())
    }

    /// Writes the record at hand as JSON into `line`.
    fn document(&mut self) -> Result<(), PayloadError> {
        let mut values = std::mem::take(&mut self.values);
        let columns = self.columns.as_deref().unwrap_or_default();
        for (column, cell) in columns.iter().zip(self.cells()?) {
            let value = &mut values[column.place];
            value.clear();
            write_cell(cell, column.cell_type, self.start.record, value)?;
        }
        self.line.clear();
        self.line.push(b'{');
        for (place, (name, value)) in self.names.iter().zip(&values).enumerate() {
            if place > 0 {
                self.line.push(b',');
            }
            self.line.extend_from_slice(name);
            self.line.extend_from_slice(value);
        }
        self.line.push(b'}');
        self.values = values;
        Ok(())
    }

    /// The cells of the record at hand, all checked to be UTF-8.
    fn cells(&self) -> Result<Vec<&str>, PayloadError> {
        let mut cells = Vec::with_capacity(self.end_count);
        let mut from = 0;
        for (field, end) in self.ends[..self.end_count].iter().enumerate() {
            match std::str::from_utf8(&self.output[from..*end]) {
                Ok(cell) => cells.push(cell),
                Err(error) => {
                    let RecordStart { record, line, byte } = self.start;
                    let at = error.valid_up_to();
                    return Err(PayloadError::malformed_csv(&format!(
                        "CSV parse error: record {record} (line {line}, field: {field}, byte: \
                         {byte}): invalid utf-8: invalid UTF-8 in field {field} near byte index \
                         {at}"
                    )));
                }
            }
            from = *end;
        }
        Ok(cells)
    }
}

/// The name and type of a header cell: split at the last colon, if a type follows it.
fn parse_header(cell: &str) -> (&str, CellType) {
    match cell.rsplit_once(':') {
        Some((name, "string")) => (name, CellType::String),
        Some((name, "number")) => (name, CellType::Number),
        Some((name, "boolean")) => (name, CellType::Boolean),
        _ => (cell, CellType::String),
    }
}

/// Writes a cell as JSON. `record` counts documents from 1; the messages call it a line.
fn write_cell(
    cell: &str,
    cell_type: CellType,
    record: u64,
    out: &mut Vec<u8>,
) -> Result<(), PayloadError> {
    let trimmed = cell.trim();
    let is_empty = if cell_type == CellType::String {
        cell.is_empty()
    } else {
        trimmed.is_empty()
    };
    let value = match cell_type {
        _ if is_empty => Value::Null,
        CellType::String => Value::from(cell),
        CellType::Number => match (trimmed.parse::<i64>(), trimmed.parse::<f64>()) {
            (Ok(integer), _) => Value::from(integer),
            // What is not finite has no JSON and becomes null.
            (_, Ok(float)) => Value::from(float),
            (_, Err(error)) => {
                return Err(PayloadError::malformed_csv(&format!(
                    "Error parsing number {cell:?} at line {record}: {error}"
                )));
            }
        },
        CellType::Boolean => match trimmed.parse::<bool>() {
            Ok(boolean) => Value::from(boolean),
            Err(error) => {
                return Err(PayloadError::malformed_csv(&format!(
                    "Error parsing boolean {cell:?} at line {record}: {error}"
                )));
            }
        },
    };
    serde_json::to_writer(out, &value).map_err(|e| PayloadError::no_object(e.to_string()))
}

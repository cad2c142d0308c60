//! Finding where one JSON value ends in bytes that come in pieces, and where in the payload it is.
//!
//! The scan only follows strings and brackets. It is right for every valid value; for an invalid
//! one it ends no earlier than the fault, which the parser then finds in the bytes collected.

/// A place in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// From 1.
    pub(super) line: usize,
    /// Bytes before this place on its line.
    pub(super) column: usize,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 0 };

    /// The place after these bytes.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        let line_breaks = bytes.iter().filter(|byte| **byte == b'\n').count();
        if line_breaks == 0 {
            self.column += bytes.len();
            return;
        }
        let last = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        self.line += line_breaks;
        self.column = bytes.len() - last - 1;
    }

    /// The parser's text of a fault in a value that starts here, its place being that in the whole.
    pub(super) fn shifted(self, error: &serde_json::Error) -> String {
        let text = error.to_string();
        let (line, column) = (error.line(), error.column());
        let Some(cause) = text.strip_suffix(&format!(" at line {line} column {column}")) else {
            return text;
        };
        let column = if line == 1 {
            self.column + column
        } else {
            column
        };
        let line = self.line + line.max(1) - 1;
        format!("{cause} at line {line} column {column}")
    }
}

/// How far the scan of one value has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scan {
    /// An object or array with this many brackets open.
    Nested(usize),
    /// Within a string within so many brackets; `true` right after a backslash.
    Text(usize, bool),
    /// A number or a bare word.
    Scalar,
}

/// Where a value ends.
pub(super) enum End {
    /// At this many bytes of those given.
    At(usize),
    /// A bare word ends before the byte at this place, which may be part of a fault.
    Before(usize),
    /// At a character that no string may hold; the value is surely faulty up to here.
    Faulty(usize),
    /// Not in these bytes.
    Beyond,
}

impl Scan {
    /// The scan of a value that begins with this byte, which [`Self::run`] sees again.
    pub(super) fn begin(first: u8) -> Self {
        match first {
            b'{' | b'[' | b'"' => Self::Nested(0),
            _ => Self::Scalar,
        }
    }

    /// Scans on. `is_first` says that the bytes begin with the value's first.
    pub(super) fn run(&mut self, bytes: &[u8], is_first: bool) -> End {
        let mut at = 0;
        while at < bytes.len() {
            match *self {
                Self::Scalar => {
                    let is_end = |(idx, b): (usize, &u8)| {
                        let delimits = matches!(b, b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"');
                        (delimits || b.is_ascii_whitespace()) && !(is_first && idx == 0)
                    };
                    return match bytes.iter().enumerate().position(is_end) {
                        Some(end) => End::Before(end),
                        None => End::Beyond,
                    };
                }
                Self::Text(depth, true) => {
                    *self = Self::Text(depth, false);
                    at += 1;
                }
                Self::Text(depth, false) => {
                    let rest = &bytes[at..];
                    let ends = |b: &u8| *b == b'"' || *b == b'\\' || *b < b' ';
                    let Some(stop) = rest.iter().position(ends) else {
                        return End::Beyond;
                    };
                    at += stop + 1;
                    match rest[stop] {
                        b'\\' => *self = Self::Text(depth, true),
                        b'"' if depth == 0 => return End::At(at),
                        b'"' => *self = Self::Nested(depth),
                        _ => return End::Faulty(at),
                    }
                }
                Self::Nested(depth) => {
                    let rest = &bytes[at..];
                    let acts = |b: &u8| matches!(b, b'"' | b'{' | b'[' | b'}' | b']');
                    let Some(stop) = rest.iter().position(acts) else {
                        return End::Beyond;
                    };
                    at += stop + 1;
                    match rest[stop] {
                        b'"' => *self = Self::Text(depth, false),
                        b'{' | b'[' => *self = Self::Nested(depth + 1),
                        _ if depth <= 1 => return End::At(at),
                        _ => *self = Self::Nested(depth - 1),
                    }
                }
            }
        }
        End::Beyond
    }
}

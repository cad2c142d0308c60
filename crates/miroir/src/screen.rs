//! What the program says to the person at the terminal, as opposed to what it logs.
//!
//! Unlike `println!`, nothing here panics when the reader has gone (`miroir status | head`).

use std::fmt::Display;
use std::io::Write;

/// Prints one line, or several, to standard output.
pub(crate) fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints one line to standard error: progress and warnings, which no script reads.
pub(crate) fn note(text: impl Display) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints an error and its causes to standard error.
pub(crate) fn problem(error: &anyhow::Error) {
    note(format_args!("error: {error:#}"));
}

/// Returns the rows as columns of equal width, two spaces apart, the last column ragged.
/// A column whose cells are all numbers is set flush right.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let cell = |row: &'_ Vec<String>, idx: usize| row.get(idx).cloned().unwrap_or_default();
    let is_number = |text: &str| {
        let digits = text.strip_suffix(" km").unwrap_or(text);
        let is_part = |c: char| c.is_ascii_digit() || c == ',' || (c == '.' && digits != text);
        !digits.is_empty() && digits.chars().all(is_part)
    };
    let columns: Vec<(usize, bool)> = headers
        .iter()
        .enumerate()
        .map(|(idx, header)| {
            let widest = rows
                .iter()
                .map(|row| width(&cell(row, idx)))
                .max()
                .unwrap_or(0);
            let right = !rows.is_empty() && rows.iter().all(|row| is_number(&cell(row, idx)));
            (widest.max(width(header)), right)
        })
        .collect();
    let header: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
    let mut lines = Vec::with_capacity(rows.len() + 1);
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (idx, (column, right)) in columns.iter().enumerate() {
            let text = cell(row, idx);
            let pad = " ".repeat(column - width(&text));
            line.push_str(if idx == 0 { "  " } else { "   " });
            match right {
                true => line.extend([pad, text]),
                false => line.extend([text, pad]),
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// A size for people: whole bytes, or one decimal of the largest binary unit that it fills.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if size < 1024 {
        return format!("{size} B");
    }
    let mut scaled = size as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// The number with a comma between each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_sets_numbers_flush_right() {
        let rows = [
            vec!["Zürich".to_owned(), "1,000".to_owned()],
            vec!["Bo".to_owned(), "7".to_owned()],
        ];
        let text = table(&["city", "population"], &rows);
        assert_eq!(
            text,
            "  city     population\n  Zürich        1,000\n  Bo                7"
        );
    }

    #[test]
    fn sizes_are_told_in_the_unit_they_fill() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}

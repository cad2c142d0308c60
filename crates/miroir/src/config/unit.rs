//! Sizes and durations as people write them: a number and its unit.

use std::time::Duration;

/// Returns the number of bytes of `"100 MB"`, `"64 MiB"` or `"1048576 B"`.
///
/// # Errors
/// A sentence that says what to write.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let hint = || format!("`{text}` is not a size: write a number and a unit, as in \"100 MB\"");
    let (number, unit) = split(text).ok_or_else(hint)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(format!("{} (units: B, kB, MB, GB, KiB, MiB, GiB)", hint())),
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is larger than any machine"))
}

/// Returns the duration of `"500 ms"`, `"10 s"`, `"2 min"`, `"1 h"` or `"7 d"`.
///
/// # Errors
/// A sentence that says what to write.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let hint = || format!("`{text}` is not a duration: write a number and a unit, as in \"10 s\"");
    let (number, unit) = split(text).ok_or_else(hint)?;
    let milliseconds: u64 = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{} (units: ms, s, min, h, d)", hint())),
    };
    let total = number.checked_mul(milliseconds).ok_or_else(hint)?;
    Ok(Duration::from_millis(total))
}

/// Splits `"100 MB"` into its whole number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let number = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        for (text, bytes) in [
            ("100 MB", 100_000_000),
            ("100MB", 100_000_000),
            ("64 MiB", 64 << 20),
            ("1_000 b", 1_000),
            ("2 gib", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MB",
            "100",
            "ten MB",
            "1.5 GB",
            "-1 MB",
            "99999999999999 GB",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, milliseconds) in [("500 ms", 500), ("10s", 10_000), ("2 min", 120_000)] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "10", "s", "10 days", "1.5 s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}

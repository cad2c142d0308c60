//! Points in time as nanoseconds since 1970, and their texts in the API.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since 1970 UTC; enough until the year 2262.
pub(crate) type Nanos = i64;

/// The present.
pub(crate) fn now() -> Nanos {
    from_date(OffsetDateTime::now_utc())
}

/// A date as nanoseconds, held inside the range that can be told.
pub(crate) fn from_date(date: OffsetDateTime) -> Nanos {
    let nanos = date.unix_timestamp_nanos();
    Nanos::try_from(nanos).unwrap_or(if nanos < 0 { Nanos::MIN } else { Nanos::MAX })
}

/// RFC 3339 in UTC, with as many digits of the second as are needed.
pub(crate) fn to_rfc3339(nanos: Nanos) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// ISO 8601 duration: `PT0.123456789S`, `P1DT2S`.
pub(crate) fn to_iso_duration(nanos: Nanos) -> String {
    let nanos = nanos.max(0);
    let days = nanos / 86_400_000_000_000;
    let rest = nanos % 86_400_000_000_000;
    let (seconds, fraction) = (rest / 1_000_000_000, rest % 1_000_000_000);
    let day_part = if days > 0 {
        format!("{days}D")
    } else {
        String::new()
    };
    if fraction == 0 {
        return format!("P{day_part}T{seconds}S");
    }
    let fraction = format!("{fraction:09}");
    format!("P{day_part}T{seconds}.{}S", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_days_seconds_and_no_trailing_zeros() {
        assert_eq!(to_iso_duration(123_456_789), "PT0.123456789S");
        assert_eq!(to_iso_duration(1_500_000_000), "PT1.5S");
        assert_eq!(to_iso_duration(86_402_000_000_000), "P1DT2S");
        assert_eq!(to_iso_duration(-5), "PT0S");
    }

    #[test]
    fn dates_end_with_z() {
        assert_eq!(to_rfc3339(1_500_000_000), "1970-01-01T00:00:01.5Z");
    }
}

//! The languages that a search or an attribute can be bound to, by their ISO 639 codes.

use crate::error::ResponseError;
use crate::query::Parameter;
use crate::validate::At;
use serde_json::Value;

/// Every accepted code, two letters first, in the order in which refusals list them.
#[rustfmt::skip]
pub const LOCALES: &[&str] = &[
    "af", "ak", "am", "ar", "az", "be", "bn", "bg", "ca", "cs", "da", "de", "el", "en",
    "eo", "et", "fi", "fr", "gu", "he", "hi", "hr", "hu", "hy", "id", "it", "jv", "ja",
    "kn", "ka", "km", "ko", "la", "lv", "lt", "ml", "mr", "mk", "my", "ne", "nl", "nb",
    "or", "pa", "fa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sn", "es", "sr", "sv",
    "ta", "te", "tl", "th", "tk", "tr", "uk", "ur", "uz", "vi", "yi", "zh", "zu",
    "afr", "aka", "amh", "ara", "aze", "bel", "ben", "bul", "cat", "ces", "dan", "deu",
    "ell", "eng", "epo", "est", "fin", "fra", "guj", "heb", "hin", "hrv", "hun", "hye",
    "ind", "ita", "jav", "jpn", "kan", "kat", "khm", "kor", "lat", "lav", "lit", "mal",
    "mar", "mkd", "mya", "nep", "nld", "nob", "ori", "pan", "pes", "pol", "por", "ron",
    "rus", "sin", "slk", "slv", "sna", "spa", "srp", "swe", "tam", "tel", "tgl", "tha",
    "tuk", "tur", "ukr", "urd", "uzb", "vie", "yid", "zho", "zul",
    "cmn",
];

/// Checks a list of locales in a JSON body.
///
/// # Errors
/// Wrong types, or a code that is not among [`LOCALES`].
pub fn check_locales(at: &At<'_>, value: &Value) -> Result<(), ResponseError> {
    for (index, locale) in at.array(value)?.iter().enumerate() {
        at.index(index).one_of(locale, LOCALES)?;
    }
    Ok(())
}

/// Reads a list of locales from a query string.
///
/// # Errors
/// A code that is not among [`LOCALES`].
pub fn read_locales(parameter: &Parameter<'_>) -> Result<Vec<String>, ResponseError> {
    let locales = parameter.list();
    match locales
        .iter()
        .find(|locale| !LOCALES.contains(&locale.as_str()))
    {
        None => Ok(locales),
        Some(unknown) => {
            let mut accepted = LOCALES.to_vec();
            accepted.sort_by_key(|locale| (locale.len(), *locale));
            Err(parameter.invalid(format_args!(
                "Unsupported locale `{unknown}`, expected one of {}",
                accepted.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use serde_json::json;

    #[test]
    fn only_known_locales_are_accepted() {
        let at = At::root(Code::BadRequest);
        let at = at.field("locales", Code::InvalidSearchLocales);
        assert_eq!(check_locales(&at, &json!(["en", "jpn", "cmn"])), Ok(()));
        let error = check_locales(&at, &json!(["invalid"])).expect_err("no such locale");
        assert!(
            error.message.starts_with(
                "Unknown value `invalid` at `.locales[0]`: expected one of `af`, `ak`, `am`"
            ),
            "{error}"
        );
        let parameter = Parameter::new("locales", "invalid", Code::InvalidSearchLocales);
        let error = read_locales(&parameter).expect_err("no such locale");
        assert!(
            error.message.starts_with(
                "Invalid value in parameter `locales`: Unsupported locale `invalid`, expected one \
                 of af, ak, am, ar, az, be, bg, bn,"
            ),
            "{error}"
        );
    }
}

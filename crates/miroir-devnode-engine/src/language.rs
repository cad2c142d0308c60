//! ISO-639 codes of the languages that the engine's tokenizer knows.

use crate::error::EngineError;
use milli_core::tokenizer::Language;

/// Two-letter codes and the three-letter codes that the tokenizer uses.
const TWO_LETTERS: [(&str, &str); 69] = [
    ("af", "afr"),
    ("ak", "aka"),
    ("am", "amh"),
    ("ar", "ara"),
    ("az", "aze"),
    ("be", "bel"),
    ("bg", "bul"),
    ("bn", "ben"),
    ("ca", "cat"),
    ("cs", "ces"),
    ("da", "dan"),
    ("de", "deu"),
    ("el", "ell"),
    ("en", "eng"),
    ("eo", "epo"),
    ("es", "spa"),
    ("et", "est"),
    ("fa", "pes"),
    ("fi", "fin"),
    ("fr", "fra"),
    ("gu", "guj"),
    ("he", "heb"),
    ("hi", "hin"),
    ("hr", "hrv"),
    ("hu", "hun"),
    ("hy", "hye"),
    ("id", "ind"),
    ("it", "ita"),
    ("ja", "jpn"),
    ("jv", "jav"),
    ("ka", "kat"),
    ("km", "khm"),
    ("kn", "kan"),
    ("ko", "kor"),
    ("la", "lat"),
    ("lt", "lit"),
    ("lv", "lav"),
    ("mk", "mkd"),
    ("ml", "mal"),
    ("mr", "mar"),
    ("my", "mya"),
    ("nb", "nob"),
    ("ne", "nep"),
    ("nl", "nld"),
    ("or", "ori"),
    ("pa", "pan"),
    ("pl", "pol"),
    ("pt", "por"),
    ("ro", "ron"),
    ("ru", "rus"),
    ("si", "sin"),
    ("sk", "slk"),
    ("sl", "slv"),
    ("sn", "sna"),
    ("sr", "srp"),
    ("sv", "swe"),
    ("ta", "tam"),
    ("te", "tel"),
    ("th", "tha"),
    ("tk", "tuk"),
    ("tl", "tgl"),
    ("tr", "tur"),
    ("uk", "ukr"),
    ("ur", "urd"),
    ("uz", "uzb"),
    ("vi", "vie"),
    ("yi", "yid"),
    ("zh", "zho"),
    ("zu", "zul"),
];

/// The language of a two- or three-letter code; `None` if the tokenizer does not know it.
pub(crate) fn from_code(code: &str) -> Option<Language> {
    let three_letters = TWO_LETTERS
        .iter()
        .find(|(two, _)| *two == code)
        .map_or(code, |(_, three)| three);
    Language::from_code(three_letters)
}

/// The languages of a search's `locales`.
///
/// # Errors
/// `invalid_search_locales`.
pub(crate) fn of_search(codes: &[String]) -> Result<Vec<Language>, EngineError> {
    from_codes(codes, "invalid_search_locales", ".locales")
}

/// The languages of several codes.
///
/// # Errors
/// Under the given code, when one of them is unknown.
pub(crate) fn from_codes(
    codes: &[String],
    error_code: &'static str,
    location: &str,
) -> Result<Vec<Language>, EngineError> {
    let mut languages = Vec::with_capacity(codes.len());
    for (code_idx, code) in codes.iter().enumerate() {
        let Some(language) = from_code(code) else {
            let known: Vec<String> = TWO_LETTERS
                .iter()
                .flat_map(|(two, three)| [two, three])
                .map(|c| format!("`{c}`"))
                .collect();
            return Err(EngineError::user(
                error_code,
                format!(
                    "Unknown value `{code}` at `{location}[{code_idx}]`: expected one of {}",
                    known.join(", ")
                ),
            ));
        };
        languages.push(language);
    }
    Ok(languages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_letter_code_names_a_language() {
        for (two, three) in TWO_LETTERS {
            let language = from_code(two).unwrap_or_else(|| panic!("{two} is unknown"));
            assert_eq!(language.code(), three);
        }
    }

    #[test]
    fn the_table_is_sorted_and_without_doubles() {
        assert!(TWO_LETTERS.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn an_unknown_code_is_refused_by_its_position() {
        let codes = ["eng".to_owned(), "xx".to_owned()];
        let error = from_codes(&codes, "invalid_search_locales", ".locales").unwrap_err();
        assert_eq!(error.code(), "invalid_search_locales");
        assert!(
            error
                .message
                .starts_with("Unknown value `xx` at `.locales[1]`")
        );
    }
}

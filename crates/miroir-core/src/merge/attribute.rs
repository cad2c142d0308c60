//! Which attributes a hit shows: what the client asked for, cut by the displayed attributes.
//!
//! Meilisearch compares *names* here, not paths: with `a` displayed, asking for `a.b` shows
//! nothing, and with `a.b` displayed, asking for `a` shows nothing either (observed on 1.50).
//! Only the positions of matches are cut by path.

use crate::reserved::is_reserved;

/// The length that Meilisearch crops to when the request does not say.
const CROP_LENGTH_DEFAULT: u64 = 10;

/// Whether `path` is `root` or lies within it: `a.b` is within `a`, `ab` is not.
pub(super) fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether an attribute pattern of Meilisearch (`*`, `a*`, `*a`, `*a*` or a plain name, which
/// stands for all within it) covers `name`.
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => name.contains(rest.strip_suffix('*').unwrap_or(rest)),
        (Some(suffix), None) => name.ends_with(suffix),
        (None, Some(prefix)) => name.starts_with(prefix),
        (None, None) => is_within(name, pattern),
    }
}

fn is_displayed(name: &str, displayed: Option<&[String]>) -> bool {
    displayed.is_none_or(|names| names.iter().any(|displayed| displayed == name))
}

fn push_new(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}

/// The attributes to retrieve, each once, in the order asked; `None` is everything.
pub(super) fn select_retrieved(
    asked: Option<&[String]>,
    displayed: Option<&[String]>,
) -> Option<Vec<String>> {
    let asked = asked.filter(|names| names.iter().all(|name| name != "*"));
    let Some(asked) = asked else {
        return displayed.map(<[String]>::to_vec).map(without_reserved);
    };
    let mut selected = Vec::new();
    for name in asked.iter().filter(|name| is_displayed(name, displayed)) {
        push_new(&mut selected, name.clone());
    }
    Some(without_reserved(selected))
}

/// The attributes to highlight. `*` stays when everything is displayed, and is otherwise spelled
/// out, because on a node it would take in what is not displayed.
pub(super) fn select_highlighted(asked: &[String], displayed: Option<&[String]>) -> Vec<String> {
    if asked.iter().any(|name| name == "*") {
        return displayed.map_or_else(|| vec!["*".to_owned()], <[String]>::to_vec);
    }
    let mut selected = Vec::new();
    for name in asked.iter().filter(|name| is_displayed(name, displayed)) {
        push_new(&mut selected, name.clone());
    }
    without_reserved(selected)
}

/// The attributes to crop, as `name` or `name:length`, in the order asked (a later entry for the
/// same name wins on the node). `*` is spelled out like in [`select_highlighted`].
pub(super) fn select_cropped(
    asked: &[String],
    displayed: Option<&[String]>,
    crop_length: Option<u64>,
) -> Vec<String> {
    let mut selected = Vec::new();
    for entry in asked {
        let (name, length) = split_crop(entry);
        match (name, displayed) {
            ("*", Some(displayed)) => {
                // The length is always said, for a name that itself holds a colon.
                let default = crop_length.unwrap_or(CROP_LENGTH_DEFAULT).to_string();
                let length = length.unwrap_or(&default);
                selected.extend(displayed.iter().map(|name| format!("{name}:{length}")));
            }
            _ if name == "*" || (is_displayed(name, displayed) && !is_reserved(name)) => {
                selected.push(entry.clone());
            }
            _ => {}
        }
    }
    selected
}

/// The name and the length of an entry to crop; the last colon parts them.
pub(super) fn split_crop(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((name, length)) => (name, Some(length)),
        None => (entry, None),
    }
}

fn without_reserved(mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| !is_reserved(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn retrieved(asked: Option<&str>, displayed: Option<&str>) -> Option<String> {
        let asked = asked.map(names);
        let displayed = displayed.map(names);
        select_retrieved(asked.as_deref(), displayed.as_deref()).map(|names| names.join(" "))
    }

    #[test]
    fn retrieved_attributes_are_those_asked_that_are_displayed() {
        let all = None;
        assert_eq!(retrieved(None, all), None);
        assert_eq!(retrieved(Some("*"), all), None);
        assert_eq!(retrieved(Some("a *"), all), None);
        assert_eq!(retrieved(Some("a b a"), all).as_deref(), Some("a b"));
        assert_eq!(retrieved(Some(""), all).as_deref(), Some(""));
        assert_eq!(retrieved(None, Some("a b")).as_deref(), Some("a b"));
        assert_eq!(retrieved(Some("b c"), Some("a b")).as_deref(), Some("b"));
        assert_eq!(retrieved(Some("* c"), Some("a b")).as_deref(), Some("a b"));
        // Names, not paths, as one node does it.
        assert_eq!(retrieved(Some("a"), Some("a.b")).as_deref(), Some(""));
        assert_eq!(retrieved(Some("a.b"), Some("a")).as_deref(), Some(""));
        assert_eq!(
            retrieved(Some("a.b"), Some("a a.b")).as_deref(),
            Some("a.b")
        );
    }

    #[test]
    fn reserved_names_are_never_retrieved_by_name() {
        assert_eq!(
            retrieved(Some("_miroir_seq id _miroir_shard"), None).as_deref(),
            Some("id")
        );
        assert_eq!(
            retrieved(None, Some("id _miroir_shard")).as_deref(),
            Some("id")
        );
    }

    #[test]
    fn highlighted_attributes_are_spelled_out_when_not_everything_is_displayed() {
        let check = |asked: &str, displayed: Option<&str>, expected: &str| {
            let displayed = displayed.map(names);
            assert_eq!(
                select_highlighted(&names(asked), displayed.as_deref()),
                names(expected)
            );
        };
        check("*", None, "*");
        check("*", Some("a b"), "a b");
        check("b c", Some("a b"), "b");
        check("a.b", Some("a"), "");
        check("_miroir_seq", None, "");
    }

    #[test]
    fn cropped_attributes_keep_their_lengths() {
        let check = |asked: &str, displayed: Option<&str>, length: Option<u64>, expected: &str| {
            let displayed = displayed.map(names);
            let selected = select_cropped(&names(asked), displayed.as_deref(), length);
            assert_eq!(selected, names(expected));
        };
        check("* a:3", None, None, "* a:3");
        check("*:4 b:1", Some("a b"), None, "a:4 b:4 b:1");
        check("*", Some("a b"), None, "a:10 b:10");
        check("*", Some("a"), Some(7), "a:7");
        check("a:x c:2", Some("a b"), None, "a:x");
        check("_miroir_shard:2", None, None, "");
    }

    #[test]
    fn patterns_cover_names_as_meilisearch_does() {
        for (pattern, name, covers) in [
            ("*", "a.b", true),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("*b*", "abc", true),
            ("*b*", "ac", false),
            ("a", "a", true),
            ("a", "a.b", true),
            ("a", "ab", false),
            ("a.b", "a", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), covers, "{pattern} {name}");
        }
    }
}

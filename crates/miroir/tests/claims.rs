//! No claim without its test: the pages that say what is promised name tests, and these exist.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The pages, from the root of the sources.
const PAGES: [&str; 2] = ["docs/concept/guarantees.md", "docs/concept/outcomes.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of tests in a text: what stands between backticks and reads as a sentence.
fn named(text: &str) -> Vec<&str> {
    let is_sentence = |name: &&str| {
        name.matches('_').count() >= 3
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(is_sentence).collect()
}

fn collect_tests(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_tests(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some(rest) = function(line) {
                    // In a `proptest!` block the attribute stands before it as well.
                    if is_test {
                        tests.insert(rest.to_owned());
                    }
                    is_test = false;
                }
            }
        }
    }
}

fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let mut tests = BTreeSet::new();
    collect_tests(&root().join("crates"), &mut tests);
    assert!(tests.len() > 300, "{} tests were found", tests.len());
    let mut missing = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let names: Vec<&str> = named(&text)
            .into_iter()
            .filter(|name| !name.starts_with("no_space_left"))
            .collect();
        assert!(names.len() > 20, "{page} names {} tests", names.len());
        let unknown = names.iter().filter(|name| !tests.contains(**name));
        missing.extend(unknown.map(|name| format!("{page}: {name}")));
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_row_of_the_promises_names_a_test() {
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for line in text.lines().filter(|line| line.starts_with("| ")) {
            let last = line.trim_end_matches(['|', ' ']).rsplit('|').next();
            let last = last.unwrap().trim();
            assert!(
                matches!(last, "Tests") || !named(last).is_empty(),
                "{page}: {line}"
            );
        }
    }
}

//! Cases that the fuzzer once found, and a few of its cases of a fixed seed.
//!
//! The kept ones lie in `cases/*.json`: settings, writes and requests. One node and Miroir must
//! answer the same; where `differs` names a kind of difference, it is known, and asserted as it is.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::Programs;
use miroir_testkit::fuzz::{Arena, Case, Taste, generate};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The seed of the short run, which finds nothing new.
const SEED: u64 = 20_261_122;
const SHORT_RUN_CASES: u64 = 8;
const SHORT_RUN_REQUESTS: usize = 40;

/// Plays a case and returns what is wrong about it.
fn play(arena: &mut Arena, case: &Case) -> String {
    let mut faults = String::new();
    let stage = arena.load(case).unwrap();
    for fault in &stage.faults {
        let _ = writeln!(faults, "{}: {fault}", case.name);
    }
    let mut differs = BTreeSet::new();
    for ask in &case.requests {
        let findings = arena.judge(&stage, case, ask).unwrap();
        for (difference, cause) in findings {
            let kind = difference.kind.to_string();
            let is_known = case.differs.contains(&kind);
            if !is_known && cause.is_unexplained() {
                let _ = writeln!(
                    faults,
                    "{} (copies {}) {} {}: {kind}, {cause}\n    {}",
                    case.name,
                    case.replication_factor,
                    ask.route.name(),
                    ask.body,
                    difference.note
                );
            }
            differs.insert(kind);
        }
    }
    for known in &case.differs {
        if !differs.contains(known) {
            let _ = writeln!(faults, "{}: {known} does not differ any more", case.name);
        }
    }
    arena.clear(&stage).unwrap();
    faults
}

#[test]
fn kept_cases_are_answered_as_by_one_node() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    paths.sort();
    let mut arena = Arena::start(&programs).unwrap();
    let mut faults = String::new();
    for path in paths {
        let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let case = Case::from_json(&file).unwrap();
        if programs.has_real_nodes() || !case.real_nodes_only {
            faults.push_str(&play(&mut arena, &case));
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn a_short_fuzz_of_a_fixed_seed_finds_no_difference_without_an_excuse() {
    let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
    let taste = Taste {
        real_nodes: programs.has_real_nodes(),
        requests: SHORT_RUN_REQUESTS,
        frequency: false,
    };
    let mut arena = Arena::start(&programs).unwrap();
    let mut faults = String::new();
    for number in 0..SHORT_RUN_CASES {
        faults.push_str(&play(&mut arena, &generate(SEED, number, &taste)));
    }
    assert!(faults.is_empty(), "{faults}");
}

//! The checkers bite: every broken variant is found, by few seeds.

use miroir_sim::sweep::play_safely;
use miroir_sim::{Options, Sabotage};

/// Seeds in which each variant must be found.
const SEEDS: u64 = 60;
/// The same for what shows only while an index is cut: small indexes are cut in few pieces, so few
/// writes fall into the time in which it could go wrong.
const SEEDS_OF_RESHARDS: u64 = 400;

fn seeds_for(sabotage: Sabotage) -> u64 {
    match sabotage.is_of_reshards() {
        true => SEEDS_OF_RESHARDS,
        false => SEEDS,
    }
}

#[test]
fn every_broken_variant_is_caught() {
    let mut missed = Vec::new();
    std::thread::scope(|scope| {
        let hunts = Sabotage::ALL.map(|sabotage| {
            let hunt = scope.spawn(move || {
                let options = Options {
                    sabotage: Some(sabotage),
                    has_moves: sabotage.is_of_moves(),
                    has_reshards: sabotage.is_of_reshards(),
                    ..Options::default()
                };
                (0..seeds_for(sabotage)).find_map(|seed| {
                    let wrong = play_safely(seed, options).wrong;
                    wrong.into_iter().next().map(|first| (seed, first))
                })
            });
            (sabotage, hunt)
        });
        for (sabotage, hunt) in hunts {
            match hunt.join().unwrap() {
                Some((seed, first)) => {
                    let first: String = first.chars().take(160).collect();
                    println!("{sabotage:?}: seed {seed}: {first}");
                }
                None => missed.push((sabotage, seeds_for(sabotage))),
            }
        }
    });
    assert!(missed.is_empty(), "not caught in so many seeds: {missed:?}");
}

//! The checkers bite: every broken variant is found, by few seeds.

use miroir_sim::sweep::play_safely;
use miroir_sim::{Options, Sabotage};

/// Seeds in which each variant must be found.
const SEEDS: u64 = 60;

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
                (0..SEEDS).find_map(|seed| {
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
                None => missed.push(sabotage),
            }
        }
    });
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}

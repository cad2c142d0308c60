//! Seeds: many at once, and by name those in which something was once wrong.

use miroir_sim::{Options, play, sweep};

#[test]
fn five_hundred_seeds_keep_every_promise() {
    let sum = sweep(0..500, Options::default());
    for finding in &sum.findings {
        println!("seed {}: {:#?}", finding.seed, finding.wrong);
    }
    println!("{:?}", sum.total);
    assert!(sum.findings.is_empty(), "{} seeds", sum.findings.len());
    // The seeds are not idle.
    assert!(sum.total.crashes > 500 && sum.total.reads > 20_000 && sum.total.errors > 100);
}

#[test]
fn one_seed_gives_one_course_of_things() {
    let options = Options {
        is_traced: true,
        ..Options::default()
    };
    for seed in 0..20 {
        let (first, second) = (play(seed, options), play(seed, options));
        let differing = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}

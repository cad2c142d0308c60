//! `miroir-sim --seeds 10000`: plays seeds and tells those in which something is wrong.

#![expect(clippy::print_stderr, reason = "it speaks to a terminal")]

use clap::Parser;
use miroir_sim::sweep::play_safely;
use miroir_sim::{Options, sweep};
use std::process::ExitCode;
use std::time::Instant;

/// A cluster in one thread, from one seed: the production engine over simulated ports.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plays this one alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Tells what happened in it, call by call.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// No disk of a node is lost, and no old backup restored.
    #[arg(long)]
    no_disk_loss: bool,
    /// Shards are moved about, too.
    #[arg(long)]
    moves: bool,
    /// Indexes are cut into other numbers of shards, too.
    #[arg(long)]
    reshards: bool,
    /// Nodes answer and are not well, too.
    #[arg(long)]
    ills: bool,
    /// No request arrives after it was given up.
    #[arg(long)]
    no_late_requests: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        has_disk_loss: !arguments.no_disk_loss,
        has_late_requests: !arguments.no_late_requests,
        has_moves: arguments.moves,
        has_reshards: arguments.reshards,
        has_ills: arguments.ills,
        is_traced: arguments.trace,
        ..Options::default()
    };
    if let Some(seed) = arguments.seed {
        let outcome = play_safely(seed, options);
        for line in &outcome.trace {
            println!("{line}");
        }
        for text in &outcome.wrong {
            eprintln!("seed {seed}: {text}");
        }
        return ExitCode::from(u8::from(!outcome.wrong.is_empty()));
    }
    let started = Instant::now();
    let sum = sweep(
        arguments.from..arguments.from.saturating_add(arguments.seeds),
        options,
    );
    for finding in &sum.findings {
        for text in finding.wrong.iter().take(3) {
            eprintln!("seed {}: {text}", finding.seed);
        }
    }
    let total = &sum.total;
    println!(
        "{} seeds in {:.1} s: {} writes, {} reads answered and {} refused, {} looks at replicas, \
         {} crashes of the proxy, {} changes of placements, {:.0} minutes of virtual time; {} seeds with something wrong",
        arguments.seeds,
        started.elapsed().as_secs_f64(),
        total.writes,
        total.reads,
        total.errors,
        total.looks,
        total.crashes,
        total.epochs,
        total.took.as_secs_f64() / 60.0,
        sum.findings.len(),
    );
    ExitCode::from(u8::from(!sum.findings.is_empty()))
}

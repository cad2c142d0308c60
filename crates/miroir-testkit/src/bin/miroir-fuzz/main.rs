//! Random data and requests to one node and to Miroir over three, until something differs.
//!
//! What differs and is no proven effect of the nodes' vocabularies is made small and written to a
//! file. Such a file, moved to `crates/miroir/tests/cases`, is a regression test.

use anyhow::{Context, Result};
use clap::Parser;
use miroir_testkit::fuzz::{Arena, Ask, Case, Taste, generate, shrink};
use miroir_testkit::{Cause, Kind, NodeProgram, Programs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

/// As many faults of one kind as are made small; more would say the same.
const SHRUNK_OF_A_KIND_MAX: usize = 3;

/// Looks for requests that Miroir answers otherwise than one node would.
#[derive(Parser)]
struct Arguments {
    /// How long to look.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What everything generated comes from [default: the time].
    #[arg(long)]
    seed: Option<u64>,
    /// The first data set of the seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// No more data sets than this.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    cases: u64,
    /// Requests for each data set.
    #[arg(long, default_value_t = 120)]
    requests: usize,
    /// The copies of each shard [default: drawn].
    #[arg(long)]
    copies: Option<u32>,
    /// How long to make one fault smaller; 0 keeps it as it is found.
    #[arg(long, default_value_t = 60)]
    shrink_seconds: u64,
    /// Only searches that drop words by their frequency, and how many are the same.
    #[arg(long)]
    frequency: bool,
    /// The miroir binary [default: the one beside this program].
    #[arg(long)]
    miroir: Option<PathBuf>,
    /// A Meilisearch server binary to use as node [default: `MIROIR_TEST_NODE`, else the bundled
    /// development node].
    #[arg(long)]
    node: Option<PathBuf>,
    /// Where found cases are written.
    #[arg(long, default_value = "target/fuzz")]
    output: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut programs = Programs::new(match arguments.miroir.clone() {
        Some(path) => path,
        None => beside_this_program("miroir")?,
    });
    if let Some(node) = &arguments.node {
        programs.node = NodeProgram::Server(node.clone());
    }
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => seed_of_now()?,
    };
    let taste = Taste {
        real_nodes: programs.has_real_nodes(),
        requests: arguments.requests,
        frequency: arguments.frequency,
    };
    println!("seed {seed}");
    let mut hunt = Hunt {
        arena: Arena::start(&programs)?,
        shrink_budget: Duration::from_secs(arguments.shrink_seconds),
        output: arguments.output.clone(),
        tally: Tally::default(),
    };
    let deadline = Instant::now() + Duration::from_secs(arguments.seconds);
    for number in arguments.first..arguments.first.saturating_add(arguments.cases) {
        if Instant::now() >= deadline {
            break;
        }
        let mut case = generate(seed, number, &taste);
        if let Some(copies) = arguments.copies {
            case.replication_factor = copies;
        }
        hunt.play(&case, deadline)
            .with_context(|| format!("case {}", case.name))?;
    }
    println!("{}", hunt.tally);
    let found = hunt.tally.faults.values().sum::<usize>();
    anyhow::ensure!(found == 0, "{found} differences that nothing excuses");
    Ok(())
}

/// One run.
struct Hunt {
    arena: Arena,
    shrink_budget: Duration,
    output: PathBuf,
    tally: Tally,
}

impl Hunt {
    fn play(&mut self, case: &Case, deadline: Instant) -> Result<()> {
        let stage = self.arena.load(case)?;
        self.tally.cases += 1;
        for fault in &stage.faults {
            println!(
                "{} (copies {}): {fault}",
                case.name, case.replication_factor
            );
            *self.tally.faults.entry(Kind::Status).or_default() += 1;
        }
        let mut faults: Vec<(Ask, Kind)> = Vec::new();
        for ask in &case.requests {
            if Instant::now() >= deadline {
                break;
            }
            let findings = match self.arena.judge(&stage, case, ask) {
                Ok(findings) => findings,
                Err(error) => {
                    println!("{} {} {}: {error:#}", case.name, ask.route.name(), ask.body);
                    *self.tally.faults.entry(Kind::Status).or_default() += 1;
                    continue;
                }
            };
            self.tally.requests += 1;
            self.tally.same += usize::from(findings.is_empty());
            self.tally.same_order +=
                usize::from(findings.iter().all(|(found, _)| found.kind != Kind::Order));
            for (difference, cause) in &findings {
                if !cause.is_unexplained() {
                    let known = (difference.kind, cause.clone());
                    *self.tally.known.entry(known).or_default() += 1;
                }
            }
            let fault = findings.iter().find(|(_, cause)| cause.is_unexplained());
            let Some((difference, cause)) = fault else {
                continue;
            };
            let seen = self.tally.faults.entry(difference.kind).or_default();
            *seen += 1;
            println!(
                "{} (copies {}) {} {}\n    {}: {cause}\n    {}",
                case.name,
                case.replication_factor,
                ask.route.name(),
                ask.body,
                difference.kind,
                difference.note
            );
            if *seen <= SHRUNK_OF_A_KIND_MAX && !self.shrink_budget.is_zero() {
                faults.push((ask.clone(), difference.kind));
            }
        }
        self.arena.clear(&stage)?;
        for (number, (ask, kind)) in faults.into_iter().enumerate() {
            let mut small = shrink(&mut self.arena, case, &ask, kind, self.shrink_budget)?;
            small.name = format!("{}-{number}", case.name);
            small.note = self.describe(&small, kind)?;
            let path = write_case(&self.output, &small)?;
            println!("kept as {}: {}", path.display(), small.note);
        }
        Ok(())
    }

    /// What differs in a small case.
    fn describe(&mut self, case: &Case, kind: Kind) -> Result<String> {
        let stage = self.arena.load(case)?;
        let findings = self.arena.judge(&stage, case, &case.requests[0])?;
        self.arena.clear(&stage)?;
        let of_kind = findings.iter().find(|(found, _)| found.kind == kind);
        Ok(of_kind
            .map(|(found, cause)| format!("{kind}: {}; {cause}", found.note))
            .unwrap_or_default())
    }
}

fn write_case(folder: &Path, case: &Case) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.json", case.name));
    fs::write(&path, serde_json::to_string_pretty(&case.to_json())? + "\n")?;
    Ok(path)
}

/// Counts of one run.
#[derive(Default)]
struct Tally {
    cases: usize,
    requests: usize,
    same: usize,
    same_order: usize,
    known: BTreeMap<(Kind, Cause), usize>,
    faults: BTreeMap<Kind, usize>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |part: usize| part as f64 * 100.0 / self.requests.max(1) as f64;
        writeln!(
            f,
            "{} data sets, {} requests: {:.2} % answered the same, {:.2} % in the same order",
            self.cases,
            self.requests,
            percent(self.same),
            percent(self.same_order)
        )?;
        for ((kind, cause), count) in &self.known {
            writeln!(f, "  {count:5}  {kind}: {cause}")?;
        }
        for (kind, count) in &self.faults {
            writeln!(f, "  {count:5}  {kind}: NOT EXCUSED")?;
        }
        Ok(())
    }
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    let own = env::current_exe()?;
    let folder = own.parent().context("a program without a folder")?;
    Ok(folder.join(name))
}

fn seed_of_now() -> Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(since.as_secs())
}

//! The numbers as Markdown, each beside its ratio to the node alone.

use crate::contestant::{BASELINE, Contestant};
use std::fs;
use std::time::Duration;

/// A table with one column for each contestant.
pub(crate) struct Table {
    text: String,
}

impl Table {
    /// A table with the contestants as its head.
    pub(crate) fn new(first: &str, contestants: &[Contestant]) -> Self {
        let mut text = format!("| {first} |");
        for contestant in contestants {
            text.push_str(&format!(" {} |", contestant.name()));
        }
        text.push_str("\n| --- |");
        text.push_str(&" ---: |".repeat(contestants.len()));
        text.push('\n');
        Self { text }
    }

    /// Adds a row of durations.
    pub(crate) fn durations(&mut self, name: &str, durations: &[Duration]) {
        let numbers: Vec<f64> = durations.iter().map(Duration::as_secs_f64).collect();
        self.numbers(name, &numbers, |seconds| {
            if seconds >= 1.0 {
                format!("{seconds:.1} s")
            } else {
                format!("{:.2} ms", seconds * 1000.0)
            }
        });
    }

    /// Adds a row of numbers, each but the baseline with its ratio to it.
    pub(crate) fn numbers(&mut self, name: &str, numbers: &[f64], show: impl Fn(f64) -> String) {
        self.text.push_str(&format!("| {name} |"));
        for (idx, number) in numbers.iter().enumerate() {
            let ratio = number / numbers[BASELINE];
            if idx == BASELINE || !ratio.is_finite() {
                self.text.push_str(&format!(" {} |", show(*number)));
            } else {
                self.text
                    .push_str(&format!(" {} ({ratio:.2}×) |", show(*number)));
            }
        }
        self.text.push('\n');
    }

    /// Adds a row of texts.
    pub(crate) fn texts(&mut self, name: &str, texts: &[String]) {
        self.text
            .push_str(&format!("| {name} | {} |\n", texts.join(" | ")));
    }

    /// The whole table.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// What the numbers were measured on, one line.
pub(crate) fn machine() -> String {
    let field = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map_or_else(
            || "unknown memory".to_owned(),
            |kb| format!("{:.0} GiB", kb / 1_048_576.0),
        );
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cores} cores ({model}), {memory}, Linux {}, load before the run {load}",
        kernel.trim()
    )
}

//! How many answers were identical, by category, and what became of the rest.

use crate::{Category, Cause, Difference, Kind, Query};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// As many differences as a person reads through.
const EXAMPLES_MAX: usize = 60;

/// The outcome of one compared query.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What differs and why; empty if nothing does.
    pub differences: Vec<(Difference, Cause)>,
}

impl Verdict {
    fn has(&self, kind: Kind) -> bool {
        self.differences
            .iter()
            .any(|(difference, _)| difference.kind == kind)
    }
}

/// Counts over many queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Queries compared.
    pub queries: usize,
    /// Answers with the same hits in the same order.
    pub same_order: usize,
    /// Answers with the same totals, facet counts and facet statistics.
    pub same_counts: usize,
    /// Answers with no difference at all.
    pub identical: usize,
    /// Answers with a difference that nothing excuses.
    pub unexplained: usize,
}

impl Tally {
    /// The share of answers in the same order, in percent; 100 for none.
    #[must_use]
    pub fn order_percent(&self) -> f64 {
        percent(self.same_order, self.queries)
    }

    fn add(&mut self, verdict: &Verdict) {
        const COUNTS: &[Kind] = &[
            Kind::Total,
            Kind::FacetCounts,
            Kind::FacetOrder,
            Kind::FacetStats,
        ];
        self.queries += 1;
        let status = verdict.has(Kind::Status);
        self.same_order += usize::from(!status && !verdict.has(Kind::Order));
        let same_counts = !COUNTS.iter().any(|kind| verdict.has(*kind));
        self.same_counts += usize::from(!status && same_counts);
        self.identical += usize::from(verdict.differences.is_empty());
        let unexplained = verdict
            .differences
            .iter()
            .any(|(_, cause)| cause.is_unexplained());
        self.unexplained += usize::from(unexplained);
    }
}

/// The outcome of one run of the comparison.
#[derive(Debug, Default)]
pub struct Report {
    categories: BTreeMap<Category, Tally>,
    causes: BTreeMap<(Kind, Cause), usize>,
    examples: Vec<String>,
    unfiltered: Tally,
}

impl Report {
    /// Adds the outcome of one query of the index called `index`.
    pub fn add(&mut self, index: &str, query: &Query, verdict: &Verdict) {
        self.categories
            .entry(query.category)
            .or_default()
            .add(verdict);
        if query.is_unfiltered() {
            self.unfiltered.add(verdict);
        }
        for (difference, cause) in &verdict.differences {
            // One line for all unexplained ones: each is told apart in the examples.
            let counted = match cause {
                Cause::Unexplained(_) => Cause::Unexplained("see below".to_owned()),
                other => other.clone(),
            };
            *self.causes.entry((difference.kind, counted)).or_default() += 1;
        }
        let worst = verdict
            .differences
            .iter()
            .max_by_key(|(_, cause)| cause.is_unexplained());
        if let Some((difference, cause)) = worst {
            // Unexplained ones come first, whatever their number.
            if cause.is_unexplained() || self.examples.len() < EXAMPLES_MAX {
                let Difference { kind, note } = difference;
                let line = format!("{index} {} — {kind}: {cause}\n    {note}", query.body);
                let at = if cause.is_unexplained() {
                    0
                } else {
                    self.examples.len()
                };
                self.examples.insert(at, line);
                self.examples.truncate(EXAMPLES_MAX);
            }
        }
    }

    /// The counts over queries without a filter.
    #[must_use]
    pub fn unfiltered(&self) -> Tally {
        self.unfiltered
    }

    /// The counts over all queries.
    #[must_use]
    pub fn all(&self) -> Tally {
        self.categories
            .values()
            .fold(Tally::default(), |mut sum, tally| {
                sum.queries += tally.queries;
                sum.same_order += tally.same_order;
                sum.same_counts += tally.same_counts;
                sum.identical += tally.identical;
                sum.unexplained += tally.unexplained;
                sum
            })
    }

    /// One line for each of the most telling differences, unexplained ones first.
    #[must_use]
    pub fn examples(&self) -> String {
        self.examples.join("\n")
    }

    /// The report as Markdown: identity by category, then the causes of the rest.
    #[must_use]
    pub fn to_markdown(&self, title: &str) -> String {
        let mut text = format!("### {title}\n\n");
        text.push_str("| queries | count | order identical | counts identical | all identical | unexplained |\n");
        text.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
        let mut row = |name: &str, tally: Tally| {
            let _ = writeln!(
                text,
                "| {name} | {} | {:.1} % | {:.1} % | {:.1} % | {} |",
                tally.queries,
                tally.order_percent(),
                percent(tally.same_counts, tally.queries),
                percent(tally.identical, tally.queries),
                tally.unexplained
            );
        };
        for (category, tally) in &self.categories {
            row(&category.to_string(), *tally);
        }
        row("**all**", self.all());
        row("**without a filter**", self.unfiltered);
        if self.causes.is_empty() {
            return text;
        }
        text.push_str("\n| what differs | cause | times |\n| --- | --- | ---: |\n");
        for ((kind, cause), count) in &self.causes {
            let _ = writeln!(text, "| {kind} | {cause} | {count} |");
        }
        text
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_counts_by_category_and_puts_the_unexplained_first() {
        let query = Query {
            category: Category::Words,
            body: json!({"q": "a"}),
        };
        let differing = |cause| Verdict {
            differences: vec![(
                Difference {
                    kind: Kind::Order,
                    note: "x".into(),
                },
                cause,
            )],
        };
        let mut report = Report::default();
        report.add(
            "i",
            &query,
            &Verdict {
                differences: Vec::new(),
            },
        );
        report.add("i", &query, &differing(Cause::Vocabulary("typo".into())));
        report.add("i", &query, &differing(Cause::Unexplained("why".into())));
        let all = report.all();
        assert_eq!(
            (all.queries, all.same_order, all.identical, all.unexplained),
            (3, 1, 1, 1)
        );
        assert_eq!(all, report.unfiltered());
        assert!(report.examples().contains("unexplained (why)"));
        assert!(report.examples().find("why") < report.examples().find("typo"));
        let markdown = report.to_markdown("RF 1");
        assert!(
            markdown.contains("| words | 3 | 33.3 % | 100.0 % | 33.3 % | 1 |"),
            "{markdown}"
        );
    }
}

//! The documents of a bench: any TSV or NDJSON file, packed or not, and what can be asked of them.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use miroir_testkit::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// As many documents as say enough about the fields of the rest.
const SAMPLE: usize = 5_000;
/// Past this many values a field is no facet that anybody shows.
const FACET_VALUES_MAX: usize = 300;

/// Documents and the roles of their fields.
#[derive(Debug)]
pub(crate) struct Data {
    /// Each with a number as `id`.
    pub(crate) documents: Vec<Value>,
    /// The text to search in: the one with the most different values.
    pub(crate) text: String,
    /// A text with few values.
    pub(crate) facet: Option<String>,
    /// All texts with few values, that one first.
    pub(crate) facets: Vec<String>,
    /// A number with many values.
    pub(crate) sort: Option<String>,
}

impl Data {
    /// Reads a file, at most `limit` documents of it.
    pub(crate) fn read(path: &Path, limit: usize) -> Result<Self> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let (name, reader): (&str, Box<dyn Read>) = match name.strip_suffix(".gz") {
            Some(name) => (name, Box::new(MultiGzDecoder::new(file))),
            None => (name, Box::new(file)),
        };
        let lines = BufReader::new(reader).lines();
        let mut documents = if name.ends_with(".tsv") || name.ends_with(".txt") {
            read_tsv(lines, limit)?
        } else if name.ends_with(".ndjson") || name.ends_with(".jsonl") {
            let documents = lines
                .take(limit)
                .map(|line| Ok(serde_json::from_str(&line?)?));
            documents.collect::<Result<Vec<Map<String, Value>>>>()?
        } else {
            bail!("{name}: neither .tsv nor .ndjson, packed as .gz or not");
        };
        ensure!(
            !documents.is_empty(),
            "{} holds no documents",
            path.display()
        );
        for (number, document) in documents.iter_mut().enumerate() {
            // The same kind of key whatever the data: it decides nothing that is measured.
            document.insert("id".to_owned(), json!(number));
        }
        let Roles { text, facets, sort } = roles(&documents)?;
        let documents = documents.into_iter().map(Value::Object).collect();
        Ok(Self {
            documents,
            text,
            facet: facets.first().cloned(),
            facets,
            sort,
        })
    }

    /// The settings under which the data is searched.
    pub(crate) fn settings(&self) -> Value {
        json!({
            "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
            "filterableAttributes": self.facet.iter().collect::<Vec<_>>(),
            "sortableAttributes": self.sort.iter().collect::<Vec<_>>(),
        })
    }

    /// What somebody might type: one to three words of a document, the last perhaps unfinished.
    pub(crate) fn words(&self, rng: &mut Rng) -> String {
        let document = rng.pick(&self.documents);
        let text = document[&self.text].as_str().unwrap_or_default();
        let count = rng.between(1, 4);
        let mut words: Vec<&str> = text.split_whitespace().take(count).collect();
        if rng.chance(40)
            && let Some(last) = words.last_mut()
        {
            let letters = last.chars().count();
            let kept = rng.between(1, letters.max(2));
            *last = last
                .char_indices()
                .nth(kept)
                .map_or(*last, |(end, _)| &last[..end]);
        }
        words.join(" ")
    }

    /// A beginning of a word that many documents share.
    pub(crate) fn letter(&self, rng: &mut Rng) -> String {
        let document = rng.pick(&self.documents);
        document[&self.text]
            .as_str()
            .unwrap_or_default()
            .chars()
            .take(1)
            .collect()
    }
}

fn read_tsv(
    mut lines: impl Iterator<Item = std::io::Result<String>>,
    limit: usize,
) -> Result<Vec<Map<String, Value>>> {
    let header = lines.next().context("no header line")??;
    let names: Vec<&str> = header.split('\t').collect();
    let mut documents = Vec::new();
    for line in lines.take(limit) {
        let line = line?;
        let cells = line.split('\t').map(|cell| match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => json!(number),
            _ => json!(cell),
        });
        documents.push(
            names
                .iter()
                .map(|name| (*name).to_owned())
                .zip(cells)
                .collect(),
        );
    }
    Ok(documents)
}

/// The field to search in, those to count by, and one to sort by.
struct Roles {
    text: String,
    facets: Vec<String>,
    sort: Option<String>,
}

/// Chooses them by how many values fields have.
fn roles(documents: &[Map<String, Value>]) -> Result<Roles> {
    let sample = &documents[..documents.len().min(SAMPLE)];
    let names: BTreeSet<&String> = sample.iter().flat_map(Map::keys).collect();
    let mut texts: Vec<(usize, &str)> = Vec::new();
    let mut numbers: Vec<(usize, &str)> = Vec::new();
    for name in names {
        let values = || sample.iter().filter_map(|document| document.get(name));
        let strings = values()
            .filter_map(Value::as_str)
            .collect::<BTreeSet<_>>()
            .len();
        let distinct = values()
            .filter_map(Value::as_f64)
            .map(f64::to_bits)
            .collect::<BTreeSet<_>>()
            .len();
        if strings > 1 {
            texts.push((strings, name));
        }
        if distinct > 1 && name != "id" {
            numbers.push((distinct, name));
        }
    }
    texts.sort_unstable();
    let (_, text) = *texts.last().context("no field with texts")?;
    let facets = texts
        .iter()
        .rev()
        .filter(|(values, name)| *values <= FACET_VALUES_MAX && *name != text);
    Ok(Roles {
        text: text.to_owned(),
        facets: facets.map(|(_, name)| (*name).to_owned()).collect(),
        sort: numbers.iter().max().map(|(_, name)| (*name).to_owned()),
    })
}

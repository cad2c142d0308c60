//! Searches in which rules pin documents: the pinned documents are looked up under the search's
//! filter, the search is asked without them, and the merge puts them in.

use crate::error::EngineError;
use crate::hybrid::Asker;
use crate::lookup::fetch_seqs;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::refusal::plan_error;
use crate::rules::in_force;
use crate::scatter::{Gathered, Scatter};
use miroir_core::cover::CoverPart;
use miroir_core::document::PrimaryKey;
use miroir_core::hash::{document_hash, shard_of_hash};
use miroir_core::id::{DocumentSeq, ShardId};
use miroir_core::merge::{PinPlan, PinRound, Pinned, SearchPlan};
use miroir_core::rules::{QueryTerms, WordSettings};
use miroir_core::search::SearchRequest;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use time::format_description::well_known::Rfc3339;

/// So many documents are pinned in one search.
const PINS_MAX: usize = 100;
/// So many documents that rules name are looked up for one search: they need not exist.
const NAMED_MAX: usize = 10_000;

/// A pinned document where it is known to be.
struct Known {
    position: u32,
    seq: DocumentSeq,
    shard: ShardId,
}

impl Asker<'_> {
    /// The documents that rules pin in this search, in their order; none where no rule holds.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where it is not certain what one Meilisearch would show.
    pub(crate) async fn pinned(&self, request: &SearchRequest) -> Result<Vec<Pinned>, EngineError> {
        let found = self.find_pinned(request).await;
        match found {
            // The answer will say that it lacks the shards.
            Err(EngineError::Unavailable { .. } | EngineError::Busy) if self.is_partial => {
                Ok(Vec::new())
            }
            found => found,
        }
    }

    async fn find_pinned(&self, request: &SearchRequest) -> Result<Vec<Pinned>, EngineError> {
        let record = &self.entry.record;
        let (Some(book), Some(shard_count)) =
            (in_force(self.shared), NonZeroU32::new(record.shard_count))
        else {
            return Ok(Vec::new());
        };
        let Some(primary_key) = record.primary_key.as_deref() else {
            return Ok(Vec::new());
        };
        let now = self.shared.ports.clock.now();
        let now = now.format(&Rfc3339).map_err(|error| {
            EngineError::Answer(format!("the date of a search cannot be written: {error}"))
        })?;
        let locales = request.passthrough.get("locales");
        let settings = WordSettings::new(&record.settings, locales);
        let terms = QueryTerms::new(request.q.as_deref(), &settings);
        let pins = book.pins(record.uid.as_str(), &now, &terms).map_err(|_| {
            let what = "A search under rules that ask for words, in a script without spaces or an \
                        index with its own separators, dictionary or languages,";
            EngineError::Unsupported(what.to_owned())
        })?;
        if pins.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = pins
            .iter()
            .map(|pin| pin.id.clone())
            .take(NAMED_MAX)
            .collect();
        let primary_key = PrimaryKey::new(primary_key);
        let seqs = fetch_seqs(self.shared, self.entry, &primary_key, &ids).await?;
        let known: Vec<Known> = pins
            .iter()
            .filter_map(|pin| {
                let hash = document_hash(&pin.id);
                Some(Known {
                    position: pin.position,
                    seq: *seqs.get(&hash)?,
                    shard: shard_of_hash(hash, shard_count),
                })
            })
            .collect();
        let plan = SearchPlan::new(request, &self.entry.view)
            .map_err(|error| plan_error(error, record))?;
        let plan = PinPlan::new(plan, request, &record.settings);
        let mut pinned = Vec::new();
        // Those beyond the most are found like any document.
        for some in known.chunks(PINS_MAX) {
            if pinned.len() == PINS_MAX {
                break;
            }
            let answers = self.ask_pinned(&plan, some).await?;
            let some = some.iter().zip(answers);
            let some = some.filter_map(|(known, answer)| {
                Some(Pinned {
                    position: known.position,
                    seq: known.seq,
                    answer: answer?,
                })
            });
            pinned.extend(some);
            pinned.truncate(PINS_MAX);
        }
        if !pinned.is_empty() && request.mixed_ratio().is_some() {
            let what = "A search by words and meaning in which a rule pins documents";
            return Err(EngineError::Unsupported(what.to_owned()));
        }
        Ok(pinned)
    }

    /// What nodes answer of each document; `None` for one that does not pass the filter.
    async fn ask_pinned(
        &self,
        plan: &PinPlan,
        known: &[Known],
    ) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        let mut rounds: Vec<PinRound> = known.iter().map(|_| PinRound::default()).collect();
        // Each round settles a document or asks the next question of three.
        loop {
            let mut by_shard: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
            for (at, known) in known.iter().enumerate() {
                if rounds[at].is_open() {
                    by_shard.entry(known.shard).or_default().push(at);
                }
            }
            if by_shard.is_empty() {
                break;
            }
            let shards: Vec<ShardId> = by_shard.keys().copied().collect();
            let of_part = |part: &CoverPart| -> Vec<usize> {
                let shards = part.shards.iter().filter_map(|shard| by_shard.get(shard));
                shards.flatten().copied().collect()
            };
            let scatter = Scatter {
                shared: self.shared,
                snapshot: self.snapshot,
                entry: self.entry,
                shards: Some(&shards),
                affinity: self.affinity,
                kind: ReadKind::Search,
                request: |part: &CoverPart| {
                    let asked = of_part(part);
                    let asked = asked.iter().map(|at| (&rounds[*at], known[*at].seq));
                    NodeRead::Raw {
                        path: "/multi-search".to_owned(),
                        body: Some(plan.body(asked, part.filter.as_deref()).into()),
                    }
                },
            };
            let Gathered { answers, .. } = scatter.gather_as(false).await?;
            let mut has_gone_on = false;
            for answer in answers {
                let asked = of_part(&answer.part);
                let rounds_asked = asked.iter().map(|at| rounds[*at].clone()).collect();
                let next = plan
                    .read(rounds_asked, &answer.body)
                    .map_err(|fault| EngineError::Answer(fault.to_string()))?;
                for (at, round) in asked.into_iter().zip(next) {
                    has_gone_on = true;
                    rounds[at] = round;
                }
            }
            if !has_gone_on {
                return Err(EngineError::Answer(
                    "nobody answered about a pinned document".to_owned(),
                ));
            }
        }
        let ends = rounds.into_iter().map(|round| {
            round.end().map_err(|_| {
                let what = "Highlighting, cropping or showing the matches of a document that a \
                            rule pins and that the query itself does not find, where nodes cannot \
                            be asked for it word by word,";
                EngineError::Unsupported(what.to_owned())
            })
        });
        ends.collect()
    }
}

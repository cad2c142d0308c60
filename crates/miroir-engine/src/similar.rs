//! Documents like one document: its own node is asked by id, the others by its vectors.

use crate::engine::{Engine, SearchSteps};
use crate::error::EngineError;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::{PartAnswer, Scatter};
use crate::search::elapsed_ms;
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::hash::{document_hash, shard_of};
use miroir_core::id::{IndexUid, ShardId};
use miroir_core::merge::{
    MergeError, SimilarAnswer, SimilarPage, SimilarPlan, SimilarRequest, Target,
};
use miroir_core::settings::{Settings, ranking_rules};
use serde_json::json;
use std::num::NonZeroU32;

impl Engine {
    /// The documents like one document, as the whole JSON body, and what took how long.
    ///
    /// # Errors
    /// [`EngineError::DocumentNotFound`]; as [`Engine::search`]; [`EngineError::Unsupported`] for
    /// what nodes would rank otherwise by vector than by document.
    pub async fn similar(
        &self,
        uid: &IndexUid,
        request: SimilarRequest,
    ) -> Result<(Bytes, SearchSteps), EngineError> {
        let read = || Box::pin(self.similar_once(uid, request.clone()));
        self.read_anew(read).await
    }

    async fn similar_once(
        &self,
        uid: &IndexUid,
        request: SimilarRequest,
    ) -> Result<(Bytes, SearchSteps), EngineError> {
        let shared = self.shared();
        let clock = &shared.ports.clock;
        let started = clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let document = self
            .document_in(&snapshot, entry, &request.id, None, true)
            .await?;
        let target = Target::read(&document, &request.embedder, &entry.record.settings)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
        let home = shard_of(&request.id, shard_count);
        let is_alone = entry.record.shard_count == 1;
        if !is_alone && begins_with_custom_rule(&entry.record.settings) {
            let what = "Searching similar documents in an index whose first ranking rule is a \
                        custom one";
            return Err(EngineError::Unsupported(what.into()));
        }
        let affinity = document_hash(&request.id);
        let plan = SimilarPlan::new(request, target, &entry.view);
        let index = &entry.record.physical;
        let planned = clock.monotonic();
        let is_owner = |part: &CoverPart| part.shards.contains(&home);
        let ask = |part: &CoverPart, asked: usize| {
            let filter = part.filter.as_deref();
            if is_owner(part) {
                NodeRead::Raw {
                    path: format!("/indexes/{index}/similar"),
                    body: Some(plan.owner_body(filter).into()),
                }
            } else if plan.has_several_lists() {
                NodeRead::Raw {
                    path: "/multi-search".to_owned(),
                    body: Some(plan.other_body(filter, asked).into()),
                }
            } else {
                NodeRead::Search {
                    index: index.clone(),
                    body: plan.other_body(filter, asked).into(),
                }
            }
        };
        let shards: Vec<ShardId> = (0..entry.record.shard_count).map(ShardId).collect();
        let gather = async |shards, asked: usize| {
            let scatter = Scatter {
                shared,
                snapshot: &snapshot,
                entry,
                shards,
                affinity,
                kind: ReadKind::Other,
                request: |part: &CoverPart| ask(part, asked),
            };
            scatter.gather().await
        };
        let mut depths = plan.depths().into_iter();
        let mut asked = depths.next().unwrap_or_default();
        let mut answers = match gather(None, asked).await {
            Ok(answers) => answers,
            // The node of the document tells a mistake in the words of this route.
            Err(error @ EngineError::Refused { .. }) => {
                gather(Some(std::slice::from_ref(&home)), asked).await?;
                return Err(as_of_similar(error));
            }
            Err(error) => return Err(error),
        };
        // Each round asks deeper, and there are few.
        while merge(&plan, &answers, asked, &is_owner)?.is_shallow {
            let Some(deeper) = depths.next() else { break };
            asked = deeper;
            answers = gather(None, asked).await?;
        }
        if merge(&plan, &answers, asked, &is_owner)?.is_shallow {
            // Shard by shard, the part of each search is small enough to be shown to its end.
            answers.clear();
            for shard in shards.chunks(1) {
                answers.extend(gather(Some(shard), asked).await?);
            }
        }
        let page = merge(&plan, &answers, asked, &is_owner)?;
        if page.is_shallow {
            let what = "Searching more similar documents than `pagination.maxTotalHits`, of \
                        which one shard holds more than that,";
            return Err(EngineError::Unsupported(what.into()));
        }
        let answered = clock.monotonic();
        let mut body = Vec::new();
        page.write_response(&mut body, elapsed_ms(shared, started));
        let steps = SearchSteps {
            plan: planned.saturating_sub(started),
            nodes: answered.saturating_sub(planned),
            merge: clock.monotonic().saturating_sub(answered),
        };
        Ok((body.into(), steps))
    }
}

/// The page of what the nodes answered, each list of the others being asked for so many hits.
fn merge<'a>(
    plan: &'a SimilarPlan,
    answers: &'a [PartAnswer],
    asked: usize,
    is_owner: &dyn Fn(&CoverPart) -> bool,
) -> Result<SimilarPage<'a>, EngineError> {
    let answers: Vec<SimilarAnswer<'a>> = answers
        .iter()
        .map(|answer| SimilarAnswer {
            body: &answer.body,
            asked: (!is_owner(&answer.part)).then_some(asked),
        })
        .collect();
    let garbled = |error: MergeError| EngineError::Answer(error.to_string());
    let page = plan.merge(&answers).map_err(garbled)?;
    match page.unknown {
        None => Ok(page),
        Some(unknown) => {
            let what = format!("Searching similar documents among {unknown}");
            Err(EngineError::Unsupported(what))
        }
    }
}

/// A search would rank by that rule before it looks at the vectors.
fn begins_with_custom_rule(settings: &Settings) -> bool {
    // The rules that are the same whatever the nodes' version: only custom ones hold a colon.
    let rules = ranking_rules(settings, false);
    let first = rules.iter().find(|rule| *rule != "sort");
    first.is_some_and(|rule| rule.contains(':'))
}

/// A mistake in the filter may be found first by a node that was asked to search.
fn as_of_similar(error: EngineError) -> EngineError {
    let EngineError::Refused { status, mut body } = error else {
        return error;
    };
    for (of_search, of_similar) in [
        ("invalid_search_filter", "invalid_similar_filter"),
        ("invalid_search_embedder", "invalid_similar_embedder"),
    ] {
        if body.get("code") == Some(&json!(of_search)) {
            body["code"] = json!(of_similar);
            body["link"] = json!(format!("https://docs.meilisearch.com/errors#{of_similar}"));
        }
    }
    EngineError::Refused { status, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_keeps_its_message_and_gets_the_code_of_this_route() {
        let body = json!({"code": "invalid_search_filter", "message": "m", "link": "l"});
        let error = as_of_similar(EngineError::Refused { status: 400, body });
        let EngineError::Refused { body, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(body["code"], "invalid_similar_filter");
        assert_eq!(body["message"], "m");
    }
}

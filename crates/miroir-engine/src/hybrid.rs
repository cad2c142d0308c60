//! Asking for the lists of one query. A search that mixes words and vectors asks by words first, and
//! by vector only if what it found is not good enough; the vector of a text is computed by one node
//! and passed on to the others.

use crate::error::EngineError;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::{Gathered, PartAnswer, Scatter};
use crate::state::{IndexEntry, Shared, Snapshot};
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::id::ShardId;
use miroir_core::merge::{HybridPlan, SearchPlan, read_embedding};
use miroir_core::search::SearchRequest;
use serde_json::{Value, json};

/// What nodes say when an embedder cannot be reached or refuses; a search that mixes then goes by
/// its words alone.
const NOT_EMBEDDED: &str = "vector_embedding_error";

/// Asks the nodes of one index.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) entry: &'a IndexEntry,
    /// A hash of the query without its paging.
    pub(crate) affinity: u64,
    /// Whether the answers may lack shards that cannot be reached.
    pub(crate) is_partial: bool,
}

/// The answers to a search that mixes words and vectors.
pub(crate) struct MixedAnswers {
    /// What was found by words.
    pub(crate) words: Vec<PartAnswer>,
    /// What was found by vector, with the search that asked for it, if words did not suffice.
    pub(crate) meaning: Option<(SearchPlan, Vec<PartAnswer>)>,
    /// The shards that neither list knows of.
    pub(crate) missing: Vec<ShardId>,
}

impl Asker<'_> {
    /// The answers of a whole cover to one list, each down to the list's end.
    pub(crate) async fn list(&self, plan: &SearchPlan) -> Result<Vec<PartAnswer>, EngineError> {
        Ok(self.list_of(plan, None, false).await?.answers)
    }

    async fn list_of(
        &self,
        plan: &SearchPlan,
        shards: Option<&[ShardId]>,
        is_partial: bool,
    ) -> Result<Gathered, EngineError> {
        self.read(shards, is_partial, |part: &CoverPart| {
            Bytes::from(plan.node_body(part.filter.as_deref()))
        })
        .await
    }

    /// The plan of a search by meaning alone with its vector, computed by one node, so that each
    /// text is embedded once.
    pub(crate) async fn embedded(
        &self,
        request: &SearchRequest,
        plan: SearchPlan,
    ) -> Result<SearchPlan, EngineError> {
        Ok(match self.vector_of(request).await? {
            Some(vector) => plan.with_vector(vector),
            None => plan,
        })
    }

    /// The vector of a search that needs one and does not give it, computed by one node; `None` also
    /// where only one node is asked.
    pub(crate) async fn vector_of(
        &self,
        request: &SearchRequest,
    ) -> Result<Option<Value>, EngineError> {
        let is_alone = self.entry.record.shard_count == 1;
        let body = request
            .embedding_body()
            .filter(|_| request.vector.is_none() && !is_alone);
        match body {
            Some(body) => self.embed(body).await,
            None => Ok(None),
        }
    }

    /// The answers to a search that mixes.
    pub(crate) async fn mixed(
        &self,
        request: &SearchRequest,
        plan: &HybridPlan,
    ) -> Result<MixedAnswers, EngineError> {
        let probe = request
            .embedding_body()
            .filter(|_| self.is_to_be_checked(request));
        let was_probed = probe.is_some();
        let check = async {
            match probe {
                Some(body) => self.embed_or_do_without(request, body).await,
                None => Ok(None),
            }
        };
        // One node looks at the vector before anything else.
        let (checked, words) = futures::join!(
            Box::pin(check),
            Box::pin(self.list_of(plan.words(), None, self.is_partial))
        );
        let (
            checked,
            Gathered {
                answers: words,
                missing,
            },
        ) = (checked?, words?);
        let garbled = |error: &dyn std::error::Error| EngineError::Answer(error.to_string());
        let is_enough = plan
            .is_good_enough(&bodies_of(&words))
            .map_err(|error| garbled(&error))?;
        if is_enough {
            return Ok(MixedAnswers {
                words,
                meaning: None,
                missing,
            });
        }
        let vector = match (request.vector.clone(), request.embedding_body()) {
            (Some(vector), _) => Some(vector),
            (None, Some(body)) if !was_probed => self.embed_or_do_without(request, body).await?,
            _ => checked,
        };
        let Some(vector) = vector else {
            return Ok(MixedAnswers {
                words,
                meaning: None,
                missing,
            });
        };
        let meaning = plan.meaning(Some(vector));
        // Both lists are of the same documents.
        let known: Option<Vec<ShardId>> = (!missing.is_empty()).then(|| {
            let shards = self.entry.placement.shards();
            shards.filter(|shard| !missing.contains(shard)).collect()
        });
        let answers = self
            .list_of(&meaning, known.as_deref(), false)
            .await?
            .answers;
        Ok(MixedAnswers {
            words,
            meaning: Some((meaning, answers)),
            missing,
        })
    }

    /// Whether a node would refuse the search for its vector, its media or its embedder even if
    /// words sufficed.
    fn is_to_be_checked(&self, request: &SearchRequest) -> bool {
        let embedders = self.entry.record.settings.get("embedders");
        let is_known = |name: &str| embedders.is_some_and(|all| all.get(name).is_some());
        request.vector.is_some()
            || request.media.is_some()
            || !request.embedder().is_some_and(is_known)
    }

    async fn embed_or_do_without(
        &self,
        request: &SearchRequest,
        body: Vec<u8>,
    ) -> Result<Option<Value>, EngineError> {
        match self.embed(body).await {
            Err(EngineError::Refused { body, .. })
                if request.vector.is_none() && body.get("code") == Some(&json!(NOT_EMBEDDED)) =>
            {
                Ok(None)
            }
            other => other,
        }
    }

    /// The vector that one node computes.
    async fn embed(&self, body: Vec<u8>) -> Result<Option<Value>, EngineError> {
        let body = Bytes::from(body);
        let is_readable = |shard: &ShardId| {
            let mut replicas = self.entry.placement.replica_set(*shard);
            replicas.any(|node| {
                let view = self.snapshot.nodes.get(node);
                view.is_some_and(crate::state::NodeView::is_readable)
            })
        };
        let first = self.entry.placement.shards().find(is_readable);
        let first = [first.unwrap_or(ShardId(0))];
        let read = self.read(Some(&first), false, |_: &CoverPart| body.clone());
        let answers = read.await?.answers;
        let Some(answer) = answers.first() else {
            return Ok(None);
        };
        read_embedding(&answer.body).map_err(|fault| EngineError::Answer(fault.to_string()))
    }

    async fn read(
        &self,
        shards: Option<&[ShardId]>,
        is_partial: bool,
        body: impl Fn(&CoverPart) -> Bytes + Sync,
    ) -> Result<Gathered, EngineError> {
        let scatter = Scatter {
            shared: self.shared,
            snapshot: self.snapshot,
            entry: self.entry,
            shards,
            affinity: self.affinity,
            kind: ReadKind::Search,
            request: |part: &CoverPart| NodeRead::Search {
                index: self.entry.record.physical.clone(),
                body: body(part),
            },
        };
        scatter.gather_as(is_partial).await
    }
}

/// The bodies of answers, as they are merged.
pub(crate) fn bodies_of(answers: &[PartAnswer]) -> Vec<&[u8]> {
    answers.iter().map(|answer| &answer.body[..]).collect()
}

//! A search that drops words by their frequency: the words are counted over all nodes, then the
//! documents with all of them are asked for, then those that lack one, until the page is full.

use crate::hybrid::{Asker, bodies_of};
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::{PartAnswer, Scatter};
use crate::search::ask_spellings;
use miroir_core::cover::CoverPart;
use miroir_core::merge::{FrequencyPlan, Pinned, ResponseTemplate, WalkStep};
use miroir_core::search::SearchRequest;

impl Asker<'_> {
    /// The page and the number of nodes asked; `None` for a search that does not drop words so, or
    /// where that cannot be followed, or some node did not answer: then the nodes' own answers are
    /// to be merged, which also says in a node's words what is wrong with a request.
    pub(crate) async fn by_frequency(
        &self,
        request: &SearchRequest,
        pinned: &[Pinned],
    ) -> Option<(ResponseTemplate, usize)> {
        if self.entry.record.shard_count == 1 {
            return None;
        }
        let plan = FrequencyPlan::new(request, &self.entry.view).ok()??;
        let plan = plan.pin(pinned.to_vec());
        let counts = self
            .ask_all(|filter| Some(plan.counting_body(filter)))
            .await?;
        // A node that holds all documents counts by itself.
        if counts.len() < 2 {
            return None;
        }
        let mut walk = plan.walk(&bodies_of(&counts)).ok()??;
        // A round for each word at most.
        loop {
            let answers = self.ask_all(|filter| walk.body(filter)).await?;
            match walk.take(&bodies_of(&answers)).ok()? {
                WalkStep::Next => {}
                WalkStep::Done => break,
            }
        }
        let answers = walk.answers().ok()?;
        let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
        let mut page = plan.whole().merge(&answers).ok()?;
        if !page.disputed.is_empty() {
            let widest = plan.widest(&walk)?;
            let replies = ask_spellings(self, &widest, &page.disputed).await;
            page.respell(&bodies_of(&replies));
        }
        Some((page.to_template(), counts.len()))
    }

    async fn ask_all(
        &self,
        body: impl Fn(Option<&str>) -> Option<Vec<u8>> + Sync,
    ) -> Option<Vec<PartAnswer>> {
        body(None)?;
        let scatter = Scatter {
            shared: self.shared,
            snapshot: self.snapshot,
            entry: self.entry,
            shards: None,
            affinity: self.affinity,
            kind: ReadKind::Search,
            request: |part: &CoverPart| NodeRead::Raw {
                path: "/multi-search".to_owned(),
                body: body(part.filter.as_deref()).map(Into::into),
            },
        };
        scatter.gather().await.ok()
    }
}

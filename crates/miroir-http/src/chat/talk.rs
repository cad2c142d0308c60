//! One conversation: the LLM is asked, what it calls is searched, and it is asked again with what was
//! found, until it calls nothing more.
//!
//! It ends with its client: who reads the stream drops it, and with it everything that is under way.

use super::search::search;
use crate::app::{App, AppState};
use crate::auth::permit::Permit;
use crate::error::ApiError;
use crate::foreign::answer_foreign;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use miroir_api::chat::completion::{
    Completion, Content, KnownIndex, Message, StreamOptions, ToolCall, Wishes,
};
use miroir_api::chat::conversation::{Answer, Step};
use miroir_api::chat::event::{Chunk, Failure};
use miroir_api::chat::sse::{Events, TooLong};
use miroir_api::chat::workspace::{Source, Workspace};
use miroir_api::error::Code;
use miroir_engine::EngineError;
use miroir_engine::chat::port::{LlmAnswer, LlmClient, LlmError, LlmRequest};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// So often is an LLM asked in one conversation.
const ROUNDS_MAX: usize = 20;
/// An LLM may think so long before it says the first or the next word.
const PATIENCE: Duration = Duration::from_secs(300);
/// A conversation longer than this is not continued.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// An error longer than this is not read.
const ERROR_BYTES_MAX: usize = 1024 * 1024;
/// So many pieces wait for a client that reads slowly; then the LLM is read no further.
const PIECES_WAITING: usize = 10;
/// The facets of so many indexes are asked for at once.
const INDEXES_AT_ONCE: usize = 4;

/// When a client may connect again, and the end of every conversation.
const FIRST: &[u8] = b"retry: 10000\n\n";
const LAST: &[u8] = b"data: [DONE]\n\n";

/// What the LLM is told of the indexes that the client may search.
///
/// # Errors
/// An index cannot be read.
pub(crate) async fn known_indexes(app: &App, permit: &Permit) -> Result<Vec<KnownIndex>, ApiError> {
    let _place = app.searches.enter().await?;
    let indexes = app.engine.indexes().into_iter();
    let covered = indexes.filter(|index| permit.covers(index.uid.as_str()));
    let known = covered.map(|index| async move {
        let mut filter = permit.filter_for(index.uid.as_str()).cloned();
        answer_foreign(app, &index.uid, &mut filter, Code::InvalidSearchFilter).await?;
        let facets = app.engine.chat_facets(&index.uid, filter).await;
        let setting = app.engine.chat_setting(&index.uid);
        match (facets, setting) {
            (Ok(facets), Ok(setting)) => Ok(Some(KnownIndex {
                uid: index.uid.as_str().to_owned(),
                description: setting.description,
                facets,
            })),
            // It was removed meanwhile.
            (Err(EngineError::IndexNotFound(_)), _) | (_, Err(_)) => Ok(None),
            (Err(error), Ok(_)) => Err(ApiError::from(error)),
        }
    });
    let known = futures::stream::iter(known).buffered(INDEXES_AT_ONCE);
    let known: Vec<Option<KnownIndex>> = known.try_collect().await?;
    Ok(known.into_iter().flatten().collect())
}

/// A conversation.
pub(crate) struct Talk {
    pub(crate) app: AppState,
    pub(crate) llm: Arc<dyn LlmClient>,
    pub(crate) workspace: Arc<Workspace>,
    /// The credentials of the client, for searches.
    pub(crate) authorization: Option<String>,
    pub(crate) wishes: Wishes,
    /// What was said so far, with the search declared.
    pub(crate) request: Completion,
}

/// The client has gone.
struct Gone;

/// What comes of asking an LLM once.
enum Round {
    /// It is to be told what its calls came to.
    Again,
    /// Nothing more.
    Over,
}

impl Talk {
    /// The stream of events to the client.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let task = AbortOnDropHandle::new(tokio::spawn(Box::pin(self.hold(Out(sender)))));
        futures::stream::unfold((pieces, task), |(mut pieces, task)| async move {
            let piece = pieces.recv().await?;
            Some((Ok(piece), (pieces, task)))
        })
    }

    async fn hold(mut self, out: Out) {
        // A client that is gone needs no end.
        let _gone = self.ask_until_answered(&out).await;
    }

    async fn ask_until_answered(&mut self, out: &Out) -> Result<(), Gone> {
        out.raw(FIRST).await?;
        for _ in 0..ROUNDS_MAX {
            match self.ask(out).await? {
                Ok(Round::Again) => {}
                Ok(Round::Over) => break,
                Err(failure) => {
                    out.json(&failure).await?;
                    break;
                }
            }
        }
        out.raw(LAST).await
    }

    /// Asks once, and carries out what is called.
    async fn ask(&mut self, out: &Out) -> Result<Result<Round, Failure>, Gone> {
        let mut answer = match self.open().await {
            Ok(answer) => answer,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut events = Events::default();
        let mut said = Answer::default();
        while let Some(piece) = answer.body.next().await {
            let read = piece.map_err(|error| transport(&error));
            let read = read.and_then(|bytes| events.feed(&bytes).map_err(|TooLong| too_long()));
            let read = match read {
                Ok(read) => read,
                Err(failure) => return Ok(Err(failure)),
            };
            for event in read {
                if event == b"[DONE]" {
                    return self.close(out, &mut said).await.map(Ok);
                }
                let chunk: Chunk = match serde_json::from_slice(&event) {
                    Ok(chunk) => chunk,
                    Err(error) => return Ok(Err(Failure::unreadable(&error))),
                };
                match said.take(chunk) {
                    Step::Forward(chunk) => out.json(&chunk).await?,
                    Step::Search(calls, chunk) => self.carry_out(out, calls, &chunk).await?,
                    Step::Wait => {}
                    Step::End => return self.close(out, &mut said).await.map(Ok),
                }
            }
        }
        Ok(Err(Failure::new("stream_ended", None, "Stream ended")))
    }

    async fn close(&mut self, out: &Out, said: &mut Answer) -> Result<Round, Gone> {
        if let Step::Search(calls, chunk) = said.end() {
            self.carry_out(out, calls, &chunk).await?;
        }
        Ok(if said.calls_functions() {
            Round::Again
        } else {
            Round::Over
        })
    }

    /// Sends what was said so far; returns when the answer begins to come, if it is one.
    async fn open(&mut self) -> Result<LlmAnswer, Failure> {
        let source = self.workspace.source;
        self.request.stream_options = source.reports_usage().then_some(StreamOptions {
            include_usage: true,
        });
        let body =
            serde_json::to_vec(&self.request).map_err(|error| Failure::unreadable(&error))?;
        if body.len() > REQUEST_BYTES_MAX {
            let message = format!("the conversation has more than {REQUEST_BYTES_MAX} bytes");
            return Err(Failure::new("invalid_argument", None, message));
        }
        let request = LlmRequest {
            url: self.workspace.url(),
            headers: self.workspace.headers(),
            body: body.into(),
            patience: PATIENCE,
        };
        let answer = self.llm.post(request).await;
        let answer = answer.map_err(|error| transport(&error))?;
        let is_stream = answer.content_type.as_deref().is_some_and(|content_type| {
            let essence = content_type.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("text/event-stream")
        });
        if answer.status == 200 && is_stream {
            return Ok(answer);
        }
        let body = whole(answer).await.map_err(|error| transport(&error))?;
        Err(Failure::of_answer(&body, source == Source::Mistral))
    }

    /// Searches, tells the client of it as it wishes, and keeps what was found for the LLM.
    async fn carry_out(
        &mut self,
        out: &Out,
        calls: Vec<ToolCall>,
        chunk: &Chunk,
    ) -> Result<(), Gone> {
        self.request.messages.push(Message::calls(calls.clone()));
        for call in calls {
            if self.wishes.progress {
                let progress = chunk.of_progress(&call.id, &call.function);
                out.json(&progress).await?;
            }
            if self.wishes.append {
                let message = Message::calls(vec![call.clone()]);
                out.json(&chunk.of_message(&message)).await?;
            }
            let authorization = self.authorization.as_deref();
            let found = search(&self.app, authorization, &call.function.arguments).await;
            if let Some(sources) = found.sources.filter(|_| self.wishes.sources) {
                out.json(&chunk.of_sources(&call.id, &sources)).await?;
            }
            let message = Message::Tool {
                content: Content::Text(found.text),
                tool_call_id: call.id,
            };
            if self.wishes.append {
                out.json(&chunk.of_message(&message)).await?;
            }
            self.request.messages.push(message);
            if let Some(error) = found.error {
                out.json(&Failure::of_search(&error)).await?;
            }
        }
        Ok(())
    }
}

/// The way to the client.
struct Out(mpsc::Sender<Bytes>);

impl Out {
    async fn raw(&self, bytes: &'static [u8]) -> Result<(), Gone> {
        self.send(Bytes::from_static(bytes)).await
    }

    async fn json(&self, event: &impl Serialize) -> Result<(), Gone> {
        let mut bytes = b"data: ".to_vec();
        if let Err(error) = serde_json::to_writer(&mut bytes, event) {
            tracing::error!(%error, "an event cannot be written as JSON");
            return Ok(());
        }
        bytes.extend_from_slice(b"\n\n");
        self.send(bytes.into()).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.0.send(bytes).await.map_err(|_| Gone)
    }
}

/// The whole of an answer that is no stream.
async fn whole(mut answer: LlmAnswer) -> Result<Vec<u8>, LlmError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.body.next().await {
        body.extend_from_slice(&piece?);
        if body.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    Ok(body)
}

fn transport(error: &LlmError) -> Failure {
    Failure::new("transport_error", None, error.0.clone())
}

fn too_long() -> Failure {
    Failure::new("parser_error", None, "an event of the LLM is too long")
}

//! A request's body that comes back when a handler did not want it.
//!
//! A request is often answered before its body is read: there is no such route, no right to it, no
//! such index. Where the body has not arrived by then, HTTP/1.1 leaves a server the choice to read
//! it anyway or to close the connection, and a client that keeps connections then loses its *next*
//! request to the closing. So what is small and on its way is read and thrown away first.

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// More than this is cheaper to refuse with the connection than to take in for nothing.
const UNWANTED_BYTES_MAX: usize = 256 * 1024;
/// What is on its way arrives well within this; the answer waits for it.
const UNWANTED_TIME_MAX: Duration = Duration::from_millis(500);

/// A body given to a handler.
pub(super) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

/// Where a body comes back to.
pub(super) struct Leftover(Option<oneshot::Receiver<Incoming>>);

impl Lent {
    /// Lends the body of a request with this version and these headers.
    pub(super) fn new(body: Incoming, version: Version, headers: &HeaderMap) -> (Self, Leftover) {
        // A client that waits to be asked for its body is not asked for one that nobody wants; and
        // HTTP/2 ends a stream without its connection.
        let is_wanted_back = version < Version::HTTP_2 && !headers.contains_key(header::EXPECT);
        let (back, leftover) = oneshot::channel();
        let lent = Self {
            body: Some(body),
            back: is_wanted_back.then_some(back),
        };
        (lent, Leftover(is_wanted_back.then_some(leftover)))
    }
}

impl Leftover {
    /// Reads what the handler left, within bounds.
    pub(super) async fn discard(self) {
        let Some(body) = self.0.and_then(|mut leftover| leftover.try_recv().ok()) else {
            return;
        };
        // Whether it ended or not, the answer is sent; what is still there closes the connection.
        let _ = tokio::time::timeout(UNWANTED_TIME_MAX, read_away(body)).await;
    }
}

async fn read_away(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > UNWANTED_BYTES_MAX {
            return;
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it when the connection is gone.
            let _ = back.send(body);
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

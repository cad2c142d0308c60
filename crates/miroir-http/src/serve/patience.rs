//! How long a connection may stand still before it is closed.
//!
//! ```text
//!            first byte          head complete             answer sent
//!   resting ────────────► head ────────────────► answering ───────────► resting
//!   rest_max              head_max               no limit here
//! ```
//! A connection that rests between two requests is left alone for long, as Meilisearch does: clients
//! keep pools of them, and one closed at the wrong moment costs them an error. One that has begun a
//! head must end it soon: this is what a *slow loris* does not do. While a request is answered the
//! body's own limit counts (`body`) and the engine's deadlines; but a client that does not take its
//! answer is given up.
//!
//! HTTP/2 has no head to wait for: its frames mix. There the peer is pinged, and a connection without
//! requests is closed as one that rests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// The limits of a connection.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For the TLS handshake.
    pub handshake_max: Duration,
    /// From the first byte of a request to the end of its head.
    pub head_max: Duration,
    /// Without any request.
    pub rest_max: Duration,
    /// Without the client's taking a single byte of its answer.
    pub stall_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // A few round trips over the worst line.
            handshake_max: Duration::from_secs(10),
            // A node gives 5 s; what stands between the client and the proxy takes its share.
            head_max: Duration::from_secs(10),
            // Longer than the pools of clients and of load balancers keep a connection.
            rest_max: Duration::from_secs(600),
            stall_max: Duration::from_secs(60),
        }
    }
}

/// What the requests of a connection tell its reader.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests whose head was read, ever.
    begun: AtomicUsize,
    /// Requests whose answer is not yet sent.
    under_way: AtomicUsize,
}

impl Activity {
    /// Notes a request until the token is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Token {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Token(self.clone())
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    fn is_answering(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }
}

/// A request under way.
pub(super) struct Token(Arc<Activity>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is waited for; `usize` is the number of requests begun before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Rest(usize),
    Head(usize),
}

/// How an HTTP/2 connection opens.
const HTTP2_OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream that fails once the other side has stood still for too long.
pub(super) struct Patient<I> {
    io: I,
    patience: Patience,
    activity: Arc<Activity>,
    /// The first bytes of the connection, until they tell HTTP/2 from HTTP/1.1.
    opening: Vec<u8>,
    is_http2: bool,
    /// The number of requests begun when a byte of a head came.
    head_of: Option<usize>,
    waiting: Option<Wait>,
    /// Runs while `waiting` is something.
    read_clock: Option<Pin<Box<Sleep>>>,
    /// Runs while the client takes nothing.
    write_clock: Option<Pin<Box<Sleep>>>,
}

impl<I> Patient<I> {
    pub(super) fn new(io: I, patience: Patience, activity: Arc<Activity>) -> Self {
        Self {
            io,
            patience,
            activity,
            opening: Vec::new(),
            is_http2: false,
            head_of: None,
            waiting: None,
            read_clock: None,
            write_clock: None,
        }
    }

    /// Takes note of bytes that came.
    fn note(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.opening.len() < HTTP2_OPENING.len() {
            let missing = HTTP2_OPENING.len() - self.opening.len();
            self.opening
                .extend_from_slice(&bytes[..missing.min(bytes.len())]);
            self.is_http2 = self.opening == HTTP2_OPENING;
        }
        // While one is answered, bytes belong to its body.
        if !self.activity.is_answering() {
            self.head_of = Some(self.activity.begun());
        }
    }

    /// Nothing came: for how long may that last?
    fn check_reading(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_answering() {
            self.waiting = None;
            return Poll::Pending;
        }
        let begun = self.activity.begun();
        let (wait, limit) = if self.head_of == Some(begun) && !self.is_http2 {
            (Wait::Head(begun), self.patience.head_max)
        } else {
            (Wait::Rest(begun), self.patience.rest_max)
        };
        if self.waiting != Some(wait) {
            self.waiting = Some(wait);
            start(&mut self.read_clock, limit);
        }
        match poll_clock(&mut self.read_clock, cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("no request came"))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Passes on what a write came to, and gives up a client that takes nothing.
    fn check_writing<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_clock = None;
            return written;
        }
        if self.write_clock.is_none() {
            start(&mut self.write_clock, self.patience.stall_max);
        }
        match poll_clock(&mut self.write_clock, cx) {
            Poll::Ready(()) => Poll::Ready(Err(timed_out("an answer is not taken"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn start(clock: &mut Option<Pin<Box<Sleep>>>, limit: Duration) {
    match clock {
        Some(clock) => clock.as_mut().reset(Instant::now() + limit),
        None => *clock = Some(Box::pin(sleep(limit))),
    }
}

fn poll_clock(clock: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    match clock {
        Some(clock) => clock.as_mut().poll(cx),
        None => Poll::Pending,
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                self.note(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.check_reading(cx),
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.check_writing(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.check_writing(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.io).poll_shutdown(cx);
        self.check_writing(cx, closed)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.check_writing(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const BUFFER_BYTES: usize = 16;

    fn patience() -> Patience {
        Patience {
            handshake_max: Duration::from_secs(1),
            head_max: Duration::from_secs(10),
            rest_max: Duration::from_secs(600),
            stall_max: Duration::from_secs(60),
        }
    }

    fn pair() -> (DuplexStream, Patient<DuplexStream>, Arc<Activity>) {
        let (client, server) = duplex(BUFFER_BYTES);
        let activity = Arc::new(Activity::default());
        let server = Patient::new(server, patience(), activity.clone());
        (client, server, activity)
    }

    /// After how many seconds the next read gives up.
    async fn gives_up_after(server: &mut Patient<DuplexStream>) -> u64 {
        let start = Instant::now();
        let error = server.read_u8().await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_rests_is_kept_for_long() {
        let (_client, mut server, _) = pair();
        assert_eq!(gives_up_after(&mut server).await, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_end_soon_however_steadily_it_comes() {
        let (mut client, mut server, _) = pair();
        let start = Instant::now();
        let slow = tokio::spawn(async move {
            // A byte every three seconds, for ever.
            while client.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
        let mut all = Vec::new();
        let error = server.read_to_end(&mut all).await.expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 10);
        drop(server);
        slow.await.expect("it ends with the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_is_waited_for() {
        let (mut client, mut server, activity) = pair();
        client.write_all(b"head").await.expect("it fits");
        server.read_exact(&mut [0; 4]).await.expect("it came");
        let token = activity.begin();
        let hour = Duration::from_secs(3600);
        let waited = tokio::time::timeout(hour, server.read_u8()).await;
        assert!(waited.is_err(), "no limit of ours ended it");
        drop(token);
        assert_eq!(gives_up_after(&mut server).await, 600, "it rests again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_head_has_its_own_time() {
        let (mut client, mut server, activity) = pair();
        client.write_all(b"head").await.expect("it fits");
        server.read_exact(&mut [0; 4]).await.expect("it came");
        drop(activity.begin());
        client.write_all(b"h").await.expect("it fits");
        server.read_u8().await.expect("it came");
        assert_eq!(gives_up_after(&mut server).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_are_no_head() {
        let (mut client, mut server, _) = pair();
        for piece in [&b"P"[..], b"RI * HTTP/2.0\r\n", b"\r\nSM\r\n\r\n", b"more"] {
            client.write_all(piece).await.expect("it fits");
            server
                .read_exact(&mut vec![0; piece.len()])
                .await
                .expect("it came");
        }
        assert_eq!(gives_up_after(&mut server).await, 600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (_client, mut server, _) = pair();
        let start = Instant::now();
        let error = server
            .write_all(&[0; 100])
            .await
            .expect_err("nobody reads it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_its_answer_slowly_gets_it() {
        let (mut client, mut server, _) = pair();
        let reader = tokio::spawn(async move {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                client.read_u8().await.expect("a byte");
            }
        });
        server.write_all(&[0; 100]).await.expect("it takes a while");
        reader.await.expect("it got all");
    }
}

//! Serves a router on a listener until told to stop: in clear text or over TLS, HTTP/1.1 or HTTP/2.
//!
//! ```text
//! listener ─► a free place ─► TLS? ─► patience ─► HTTP/1.1 or HTTP/2 ─► router
//! ```
//! Which HTTP a connection speaks is seen from its first bytes (so HTTP/2 needs no TLS), with TLS
//! also agreed on by ALPN. However many clients there are and however slowly they send or read,
//! they hold no more than [`Transport::connections_max`] connections, and none of these for ever.

mod held;
mod lent;
mod patience;
mod tls;

pub use patience::Patience;
pub use tls::{TlsError, TlsFiles, TlsServer};

use axum::Router;
use axum::body::Body;
use held::Held;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use lent::Lent;
use patience::{Activity, Patient};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How connections are served.
#[derive(Debug, Clone)]
pub struct Transport {
    /// With a certificate every connection is TLS; without one none is.
    pub tls: Option<TlsServer>,
    /// The most connections open at once; further clients wait to be let in. At least 1.
    pub connections_max: usize,
    /// How long a client is waited for.
    pub patience: Patience,
    /// How long answers under way may take once the server is told to stop.
    pub drain_max: Duration,
}

impl Transport {
    /// Far more clients than one proxy can serve well, at some 20 kB each.
    pub const CONNECTIONS_MAX_DEFAULT: usize = 10_000;
    /// Longer than any search deadline, shorter than the patience of a supervisor.
    pub const DRAIN_MAX_DEFAULT: Duration = Duration::from_secs(20);
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            tls: None,
            connections_max: Self::CONNECTIONS_MAX_DEFAULT,
            patience: Patience::default(),
            drain_max: Self::DRAIN_MAX_DEFAULT,
        }
    }
}

/// How many requests one HTTP/2 connection may have under way: more than a browser sends, few
/// enough that a single client cannot take every place there is.
const STREAMS_MAX: u32 = 256;
/// The headers of one HTTP/2 request: what a URL of the longest `GET` search needs.
const HEAD_BYTES_MAX: u32 = 128 * 1024;
/// What may arrive on one stream, and on all streams of a connection, before it is taken up.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// How often a silent HTTP/2 peer is asked whether it is still there, and how long it may think.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The pause after a connection could not be accepted because this machine lacks something, most
/// often file handles: trying at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `router` until `shutdown` completes; then accepts no more connections, lets requests
/// under way end (for a bounded time), closes what is left, and returns.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    transport: Transport,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(transport.connections_max.max(1)));
    let connections = TaskTracker::new();
    let host = Host {
        router,
        builder: builder(),
        patience: transport.patience.clone(),
        drain: CancellationToken::new(),
        end: CancellationToken::new(),
    };
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            // The semaphore is never closed, so the place is `None` never.
            let place = places.clone().acquire_owned().await.ok();
            (place, accept(&listener).await)
        };
        let (place, stream) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        let (host, tls) = (host.clone(), transport.tls.clone());
        connections.spawn(async move {
            Box::pin(host.welcome(stream, tls)).await;
            drop(place);
        });
    }
    // Who comes now is turned away by the system and finds another proxy.
    drop(listener);
    connections.close();
    host.drain.cancel();
    tokio::select! {
        () = connections.wait() => {}
        () = tokio::time::sleep(transport.drain_max) => {
            tracing::warn!(
                connections = connections.len(),
                "requests are still under way after {:?}: their connections are closed",
                transport.drain_max
            );
            host.end.cancel();
            connections.wait().await;
        }
    }
    Ok(())
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Hyper's own limit also closes connections that merely rest; see `patience`.
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// The next connection. What is wrong with one that broke off at once is its own affair.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_its_own(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_its_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// What every connection needs.
#[derive(Clone)]
struct Host {
    router: Router,
    builder: Builder<TokioExecutor>,
    patience: Patience,
    /// No further request is taken on any connection.
    drain: CancellationToken,
    /// Every connection ends now.
    end: CancellationToken,
}

impl Host {
    /// Serves one connection to its end.
    async fn welcome(self, stream: TcpStream, tls: Option<TlsServer>) {
        // Answers are small and complete: waiting for more to send would cost 40 ms each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its send delay");
        }
        let Some(tls) = tls else {
            return self.converse(stream).await;
        };
        let handshake = tokio::time::timeout(self.patience.handshake_max, tls.accept(stream));
        let stream = tokio::select! {
            () = self.drain.cancelled() => return,
            stream = handshake => stream,
        };
        match stream {
            Ok(Ok(stream)) => self.converse(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Answers requests until one side closes the connection.
    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let activity = Arc::new(Activity::default());
        let io = TokioIo::new(Patient::new(
            stream,
            self.patience.clone(),
            activity.clone(),
        ));
        let router = self.router;
        let service = service_fn(move |request: Request<Incoming>| {
            let token = activity.begin();
            let (parts, body) = request.into_parts();
            let (body, leftover) = Lent::new(body, parts.version, &parts.headers);
            let request = Request::from_parts(parts, Body::new(body));
            let answer = router.clone().oneshot(request);
            async move {
                // A router never fails.
                let response: Response<Body> = answer.await?;
                leftover.discard().await;
                Ok::<_, Infallible>(response.map(|body| Held::new(body, token)))
            }
        });
        let mut connection = pin!(self.builder.serve_connection(io, service));
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    result = connection.as_mut() => result,
                    () = self.end.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            // Mostly clients that went away; nothing an operator must act upon.
            tracing::debug!(%error, "a connection broke");
        }
    }
}

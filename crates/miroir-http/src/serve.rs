//! Serves a router on a listener until told to stop.

use axum::Router;
use axum::serve::ListenerExt;
use std::future::{Future, IntoFuture};
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long answers under way may take once the server is told to stop. Longer than any search
/// deadline, shorter than the patience of a supervisor.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// Serves `router` over HTTP/1.1 until `shutdown` completes; then accepts no more connections,
/// lets requests under way end (for a bounded time) and returns.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Answers are small and complete: waiting for more to send would cost 40 ms each.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its send delay");
        }
    });
    let (stopping, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        shutdown.await;
        // The receiver lives as long as this function.
        let _ = stopping.send(());
    };
    let drain_is_over = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(DRAIN_MAX).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = axum::serve(listener, router).with_graceful_shutdown(shutdown).into_future() => result,
        () = drain_is_over => {
            tracing::warn!("requests are still under way after {DRAIN_MAX:?}: stopping anyway");
            Ok(())
        }
    }
}

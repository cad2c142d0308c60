//! Connections kept for reads, each driven by the read that uses it.
//!
//! A pool that drives its connections in tasks of their own hands each answer from one task to
//! another, often from one thread to another: for a search of a millisecond that is felt. Here a
//! connection has no task: whoever reads over it polls it, and a connection at rest is polled again
//! only when it is taken, which is when its end is noticed.

use crate::body::Pieces;
use crate::error::chain;
use ::http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What bounds the connections at rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Until a connection attempt fails.
    pub(crate) connect_timeout: Duration,
    /// At rest for longer, a connection is not used again.
    pub(crate) idle_timeout: Duration,
    /// Connections at rest to one node.
    pub(crate) idle_max: usize,
}

/// The connections at rest, by `host:port`.
#[derive(Debug)]
pub(crate) struct Kept {
    bounds: Bounds,
    // Held only to take one or to put one back.
    idle: Mutex<HashMap<String, Vec<Line>>>,
}

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Line {
    sender: SendRequest<Pieces>,
    connection: Pin<Box<Connection<TokioIo<TcpStream>, Pieces>>>,
    /// The connection's end was seen.
    is_over: bool,
    idle_since: Instant,
}

impl Kept {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            idle: Mutex::default(),
        }
    }

    /// A connection to `address`: a kept one that is still open, or else a new one.
    ///
    /// # Errors
    /// Why no connection could be made; nothing was sent.
    pub(crate) async fn line(&self, address: &str) -> Result<Line, String> {
        // Each turn takes one away, so this ends.
        while let Some(mut line) = self.take(address) {
            if line.is_ready().await {
                return Ok(line);
            }
        }
        self.open(address).await
    }

    /// A new connection to `address`.
    ///
    /// # Errors
    /// As [`Kept::line`].
    pub(crate) async fn open(&self, address: &str) -> Result<Line, String> {
        let connecting = tokio::time::timeout(self.bounds.connect_timeout, connect(address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(format!("cannot connect to {address}: {e}")),
            Err(_) => {
                let timeout = self.bounds.connect_timeout;
                return Err(format!("no connection to {address} within {timeout:?}"));
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| chain(&e))?;
        Ok(Line {
            sender,
            connection: Box::pin(connection),
            is_over: false,
            idle_since: Instant::now(),
        })
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn put_back(&self, address: &str, mut line: Line) {
        if line.is_over || line.sender.is_closed() {
            return;
        }
        line.idle_since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = match idle.get_mut(address) {
            Some(lines) => lines,
            None => idle.entry(address.to_owned()).or_default(),
        };
        // The one that rests longest is first.
        let is_old = |line: &Line| line.idle_since.elapsed() > self.bounds.idle_timeout;
        if lines.first().is_some_and(is_old) || lines.len() >= self.bounds.idle_max {
            lines.remove(0);
        }
        lines.push(line);
    }

    /// Closes all that rest.
    pub(crate) fn clear(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }

    fn take(&self, address: &str) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = idle.get_mut(address)?;
        let line = lines.pop()?;
        if line.idle_since.elapsed() > self.bounds.idle_timeout {
            // The others rest for longer still.
            lines.clear();
            return None;
        }
        Some(line)
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Line {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> hyper::Result<Response<Incoming>> {
        let answer = self.sender.send_request(request);
        drive(&mut self.connection, &mut self.is_over, answer).await
    }

    /// Drives the connection until `future`, which waits for something that comes over it, is done.
    pub(crate) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.connection, &mut self.is_over, future).await
    }

    /// Whether it can take a request. A connection that the node has closed says so here.
    async fn is_ready(&mut self) -> bool {
        let ready = self.sender.ready();
        drive(&mut self.connection, &mut self.is_over, ready)
            .await
            .is_ok()
            && !self.is_over
    }
}

async fn drive<F: Future>(
    connection: &mut Pin<Box<Connection<TokioIo<TcpStream>, Pieces>>>,
    is_over: &mut bool,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Its result is not needed: an error fails the future as well.
        if !*is_over && connection.as_mut().poll(cx).is_ready() {
            *is_over = true;
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

//! A request body of several pieces, sent one after the other under a known length.

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Pieces to send. A clone shares the bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces {
    pieces: Vec<Bytes>,
    next_idx: usize,
    bytes_left: u64,
}

impl Pieces {
    pub(crate) fn new(pieces: Vec<Bytes>) -> Self {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces,
            next_idx: 0,
            bytes_left,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        while let Some(piece) = this.pieces.get_mut(this.next_idx).map(std::mem::take) {
            this.next_idx += 1;
            if !piece.is_empty() {
                this.bytes_left -= piece.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

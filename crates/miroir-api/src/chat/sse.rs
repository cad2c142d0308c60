//! Server-sent events, as far as LLMs use them: the data of each event.

/// An event longer than this is none of a conversation.
pub const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The stream holds an event that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Cuts bytes as they come into the data of events.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return: a line feed after it ends no further line.
    is_after_return: bool,
}

impl Events {
    /// The data of the events that end in `bytes`. What follows the last of them is kept.
    ///
    /// # Errors
    /// [`TooLong`]: more than [`EVENT_BYTES_MAX`] would have to be kept.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut ended = Vec::new();
        for &byte in bytes {
            let is_second = std::mem::take(&mut self.is_after_return) && byte == b'\n';
            match byte {
                b'\n' if is_second => {}
                b'\n' | b'\r' => {
                    self.is_after_return = byte == b'\r';
                    ended.extend(self.end_line());
                }
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, Vec::len) > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(ended)
    }

    /// Takes a line in; an empty one ends the event.
    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        // Names of events, ids and comments mean nothing here.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Vec<String> {
        let events = Events::default().feed(bytes).expect("short events");
        let text = |event| String::from_utf8(event).expect("text");
        events.into_iter().map(text).collect()
    }

    #[test]
    fn events_end_with_an_empty_line() {
        assert_eq!(whole(b"data: a\n\ndata:b\r\n\r\n"), ["a", "b"]);
        assert_eq!(
            whole(b": hi\nevent: x\nid: 1\ndata: a\ndata: b\n\n"),
            ["a\nb"]
        );
        assert_eq!(whole(b"data: a\n"), [""; 0]);
        assert_eq!(whole(b"\n\n\nretry: 1\n\n"), [""; 0]);
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut events = Events::default();
        let long = vec![b'a'; EVENT_BYTES_MAX];
        assert_eq!(events.feed(&long), Ok(Vec::new()));
        assert_eq!(events.feed(b"a"), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            parts in prop::collection::vec("(data: [a-z]{0,4}|: c|)(\n|\r\n)", 0..12),
            cut in 0_usize..60,
        ) {
            let bytes = parts.concat().into_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut events = Events::default();
            let mut seen = events.feed(first).expect("short");
            seen.extend(events.feed(second).expect("short"));
            prop_assert_eq!(seen, Events::default().feed(&bytes).expect("short"));
        }
    }
}

//! A small blocking HTTP/1.1 client over loopback.
//!
//! It exists because the tests need two things a usual client hides: a write is sent once and
//! never again by itself (an unknown outcome must stay visible), and a body can be produced while
//! it is sent, however large.

use crate::PATIENCE;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A chunk of a streamed body: large enough to make system calls rare.
const CHUNK_BYTES: usize = 64 * 1024;
/// Servers close a connection that is idle for some seconds, Meilisearch after five. One that is
/// used again just then meets the close half-way, and on a busy machine "just then" is long; so it
/// is left alone well before.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Further headers, names and values.
    pub headers: &'a [(&'a str, &'a str)],
}

/// What is sent along.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(&'a [u8]),
    /// Whatever the function writes, in chunks.
    Stream(&'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A client of one address. Idle connections are kept; it may be shared by threads.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    bearer: Option<String>,
    idle: Mutex<Vec<Idle>>,
}

/// A connection that waits for its next request.
#[derive(Debug)]
struct Idle {
    since: Instant,
    connection: BufReader<TcpStream>,
}

impl Clone for Http {
    /// Another one of the same address, with connections of its own.
    fn clone(&self) -> Self {
        Self {
            address: self.address,
            bearer: self.bearer.clone(),
            idle: Mutex::default(),
        }
    }
}

impl Http {
    /// A client that shows `bearer`, if given, with each request.
    #[must_use]
    pub fn new(address: SocketAddr, bearer: Option<&str>) -> Self {
        Self {
            address,
            bearer: bearer.map(str::to_owned),
            idle: Mutex::default(),
        }
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one request, once, and returns the whole answer.
    ///
    /// # Errors
    /// When there is no answer; whether a write was done is then unknown.
    pub fn send(&self, request: Request<'_>, body: Body<'_>) -> io::Result<Answer> {
        let mut connection = self.connection()?;
        let sent = write_request(
            connection.get_mut(),
            self.address,
            self.bearer.as_deref(),
            request,
            body,
        );
        // A server may answer (too large, not allowed) before it has read all: its answer counts.
        let (answer, reusable) = match (read_answer(&mut connection), sent) {
            (Ok(read), _) => read,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        };
        if reusable {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Idle {
                    since: Instant::now(),
                    connection,
                });
        }
        Ok(answer)
    }

    /// An idle connection that the server has not closed, or a new one.
    fn connection(&self) -> io::Result<BufReader<TcpStream>> {
        loop {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some(Idle { since, connection }) = idle else {
                break;
            };
            if since.elapsed() < IDLE_MAX && is_open(connection.get_ref()) {
                return Ok(connection);
            }
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

/// Whether an idle connection has neither been closed nor been spoken on.
fn is_open(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let quiet = matches!(
        stream.peek(&mut [0]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock
    );
    stream.set_nonblocking(false).is_ok() && quiet
}

fn write_request(
    stream: &mut TcpStream,
    address: SocketAddr,
    bearer: Option<&str>,
    request: Request<'_>,
    body: Body<'_>,
) -> io::Result<()> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {address}\r\n",
        request.method, request.path
    );
    if let Some(bearer) = bearer {
        let _ = write!(head, "authorization: Bearer {bearer}\r\n");
    }
    for (name, value) in request.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    match body {
        Body::Empty => {
            // A write without a body says so; a read has none by nature.
            let length = if request.method == "GET" {
                ""
            } else {
                "content-length: 0\r\n"
            };
            stream.write_all(format!("{head}{length}\r\n").as_bytes())
        }
        Body::Bytes(bytes) => {
            let head = format!("{head}content-length: {}\r\n\r\n", bytes.len());
            let mut whole = Vec::with_capacity(head.len() + bytes.len());
            whole.extend_from_slice(head.as_bytes());
            whole.extend_from_slice(bytes);
            stream.write_all(&whole)
        }
        Body::Stream(produce) => {
            stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())?;
            let mut chunks = ChunkWriter {
                stream,
                buffer: Vec::with_capacity(CHUNK_BYTES),
            };
            produce(&mut chunks)?;
            chunks.flush()?;
            stream.write_all(b"0\r\n\r\n")
        }
    }
}

/// Collects bytes and sends them as the chunks of a chunked body.
struct ChunkWriter<'a> {
    stream: &'a mut TcpStream,
    buffer: Vec<u8>,
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // An empty chunk would end the body.
        if !self.buffer.is_empty() {
            self.stream
                .write_all(format!("{:x}\r\n", self.buffer.len()).as_bytes())?;
            self.buffer.extend_from_slice(b"\r\n");
            self.stream.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Reads one answer; the flag says whether the connection may serve another request.
fn read_answer(reader: &mut BufReader<TcpStream>) -> io::Result<(Answer, bool)> {
    loop {
        let head = read_head(reader)?;
        let mut words = head.first_line.split_ascii_whitespace();
        let status = words
            .nth(1)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status in {:?}", head.first_line)))?;
        // 100 Continue and its like come before the answer.
        if (100..200).contains(&status) {
            continue;
        }
        let (body, reusable) = match status {
            204 | 304 => (Vec::new(), true),
            _ => read_whole_body(reader, &head)?,
        };
        // A server that refuses a request may close the connection a moment later, without having
        // said so: it need not read the rest of the body.
        let stays = head.header("connection") != Some("close") && status < 400;
        let reusable = reusable && stays;
        return Ok((
            Answer {
                status,
                headers: head.headers,
                body,
            },
            reusable,
        ));
    }
}

fn read_whole_body(reader: &mut BufReader<TcpStream>, head: &Head) -> io::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    let has_length = head.header("content-length").is_some();
    if has_length || head.is_chunked() {
        read_body(reader, head, |bytes| body.extend_from_slice(bytes))?;
        return Ok((body, true));
    }
    reader.read_to_end(&mut body)?;
    Ok((body, false))
}

/// The first line and the headers of a message.
pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.header("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"))
    }
}

/// Reads up to the empty line that ends the headers.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let first_line = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Head {
                first_line,
                headers,
            });
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("not a header: {line:?}")))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Hands the body to `take`, piece by piece, holding no more than a chunk.
pub(crate) fn read_body(
    reader: &mut impl BufRead,
    head: &Head,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    if !head.is_chunked() {
        let length = head
            .header("content-length")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        return read_exactly(reader, length, &mut take);
    }
    loop {
        let line = read_line(reader)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::other(format!("not a chunk length: {line:?}")))?;
        read_exactly(reader, length, &mut take)?;
        // The end of the chunk; after the last one, of the (empty) trailer.
        read_line(reader)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(
    reader: &mut impl BufRead,
    mut length: u64,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    while length > 0 {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let part = buffer
            .len()
            .min(usize::try_from(length).unwrap_or(usize::MAX));
        take(&buffer[..part]);
        reader.consume(part);
        length -= part as u64;
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn a_connection_that_was_idle_for_long_is_not_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = Http::new(listener.local_addr().unwrap(), None);
        // Each connection is good for one request, and stays open as if it were for more.
        let server = thread::spawn(move || {
            let mut kept = Vec::new();
            for _ in 0..2 {
                let mut reader = BufReader::new(listener.accept().unwrap().0);
                read_head(&mut reader).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                reader.get_mut().write_all(answer).unwrap();
                kept.push(reader);
            }
        });
        let get = Request {
            method: "GET",
            path: "/health",
            headers: &[],
        };
        assert_eq!(http.send(get, Body::Empty).unwrap().status, 200);
        let past = Instant::now().checked_sub(IDLE_MAX).unwrap();
        http.idle.lock().unwrap()[0].since = past;
        assert_eq!(http.send(get, Body::Empty).unwrap().status, 200);
        server.join().unwrap();
    }
}

//! A TCP connection between Miroir and a node that can be broken in every way a network can.
//!
//! A link listens on a port of its own and passes bytes on to the node, both ways, without
//! understanding them. Its [`Condition`] may change at any moment and concerns connections that are
//! open too. Loopback only.
//!
//! Law: what a broken link has swallowed never arrives later. A connection of which anything is lost
//! ends with a reset when the condition changes, as if the node's machine had been started again. (A
//! request that arrives after its sender gave it up is another fault, which the simulator has.)

use anyhow::Result;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// As much as is passed on at once.
const PIECE_BYTES: usize = 64 * 1024;
/// A loopback connection to a node is made within this, or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// A side that takes nothing for so long has lost its connection: a node that stands still longer
/// than any fault of a test.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// Both directions of a connection have ended.
const BOTH: u8 = 2;

/// What a link does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// All of it arrives.
    Passing,
    /// All of it arrives, each piece so much later.
    Delayed(Duration),
    /// Connections are closed; new ones are closed as soon as they are made.
    Cut,
    /// Connections stay open, and nothing arrives on either side.
    Silent,
    /// What the client says arrives; what the node says does not.
    HalfOpen,
    /// What the client says arrives; half of the first piece of the answer does, then the connection
    /// is reset.
    Resetting,
}

/// A link to one node. Dropping it closes all of its connections.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    node: SocketAddr,
    state: Mutex<State>,
    is_stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    condition: Condition,
    pairs: BTreeMap<u64, Arc<Pair>>,
    next: u64,
}

/// A connection of a client, and the one to the node that belongs to it.
#[derive(Debug)]
struct Pair {
    client: TcpStream,
    /// None if the client spoke to nobody from the start.
    node: Option<TcpStream>,
    /// Something of it was swallowed.
    is_lost: AtomicBool,
    directions_ended: AtomicU8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToNode,
    ToClient,
}

/// What becomes of a piece.
enum Fate {
    Pass(Duration),
    Swallow,
    Close,
    Reset,
}

impl Link {
    /// Starts a link to `node` that passes everything.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(node: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = State {
            condition: Condition::Passing,
            pairs: BTreeMap::new(),
            next: 0,
        };
        let shared = Arc::new(Shared {
            node,
            state: Mutex::new(state),
            is_stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.is_stopped.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream {
                    accept(&accepting, stream);
                }
            }
        });
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
        })
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does now.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.shared.state().condition
    }

    /// Does this from now on. Connections that lost something are reset.
    pub fn set(&self, condition: Condition) {
        let mut state = self.shared.state();
        state.condition = condition;
        let lost = |pair: &Pair| pair.is_lost.load(Ordering::Relaxed);
        for pair in state.pairs.values() {
            if condition == Condition::Cut {
                pair.close();
            } else if lost(pair) {
                pair.reset();
            }
        }
        // Those that still have a thread are held by it; the others end with this.
        state
            .pairs
            .retain(|_, pair| condition != Condition::Cut && !lost(pair));
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        self.set(Condition::Cut);
        // The acceptor looks at the flag when the next connection comes: this one.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides over a piece and notes what that does to the connection, at one moment with regard to
    /// changes of the condition.
    fn judge(&self, pair: &Pair, direction: Direction) -> Fate {
        let state = self.state();
        if pair.is_lost.load(Ordering::Relaxed) {
            return Fate::Swallow;
        }
        let fate = match (state.condition, direction) {
            (Condition::Passing, _)
            | (Condition::HalfOpen | Condition::Resetting, Direction::ToNode) => {
                Fate::Pass(Duration::ZERO)
            }
            (Condition::Delayed(delay), _) => Fate::Pass(delay),
            (Condition::Cut, _) => Fate::Close,
            (Condition::Silent, _) | (Condition::HalfOpen, Direction::ToClient) => Fate::Swallow,
            (Condition::Resetting, Direction::ToClient) => Fate::Reset,
        };
        if matches!(fate, Fate::Swallow) {
            pair.is_lost.store(true, Ordering::Relaxed);
        }
        fate
    }
}

impl Pair {
    fn close(&self) {
        // Both fail only on what is closed already.
        let _ = self.client.shutdown(Shutdown::Both);
        if let Some(node) = &self.node {
            let _ = node.shutdown(Shutdown::Both);
        }
    }

    /// The client's side ends with a reset once nobody holds the connection any more.
    fn reset(&self) {
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        // Wakes who reads; unlike a shutdown of both directions it tells the client nothing.
        let _ = self.client.shutdown(Shutdown::Read);
        if let Some(node) = &self.node {
            let _ = node.shutdown(Shutdown::Both);
        }
    }
}

fn accept(shared: &Arc<Shared>, client: TcpStream) {
    let condition = shared.state().condition;
    if condition == Condition::Cut {
        return;
    }
    let node = match condition {
        Condition::Silent => None,
        // If the node is dead the client's connection is closed at once, here.
        _ => match TcpStream::connect_timeout(&shared.node, CONNECT_LIMIT) {
            Ok(node) => Some(node),
            Err(_) => return,
        },
    };
    for stream in std::iter::once(&client).chain(&node) {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(WRITE_LIMIT));
    }
    let is_lost = node.is_none();
    let pair = Arc::new(Pair {
        client,
        node,
        is_lost: AtomicBool::new(is_lost),
        directions_ended: AtomicU8::new(0),
    });
    let mut state = shared.state();
    if state.condition == Condition::Cut || (is_lost && state.condition != condition) {
        // Healed or cut meanwhile.
        return;
    }
    let id = state.next;
    state.next += 1;
    state.pairs.insert(id, Arc::clone(&pair));
    drop(state);
    if !is_lost {
        for direction in [Direction::ToNode, Direction::ToClient] {
            let (shared, pair) = (Arc::clone(shared), Arc::clone(&pair));
            // Ends when either side closes, or the link does.
            thread::spawn(move || {
                pass_on(&shared, &pair, direction);
                end(&shared, &pair, id);
            });
        }
    }
}

/// One direction of a connection has ended. The last one lets go of it, unless it was lost: then it
/// stays open, since nobody has heard of an end.
fn end(shared: &Shared, pair: &Pair, id: u64) {
    let is_last = pair.directions_ended.fetch_add(1, Ordering::Relaxed) + 1 == BOTH;
    let mut state = shared.state();
    if is_last && !pair.is_lost.load(Ordering::Relaxed) {
        state.pairs.remove(&id);
    }
}

fn pass_on(shared: &Shared, pair: &Pair, direction: Direction) {
    let Some(node) = &pair.node else { return };
    let (mut from, mut to) = match direction {
        Direction::ToNode => (&pair.client, node),
        Direction::ToClient => (node, &pair.client),
    };
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = read(&mut from, &mut piece);
        let fate = shared.judge(pair, direction);
        let is_passed = match fate {
            // Its end is swallowed like all else.
            Fate::Swallow if length == 0 => return,
            Fate::Swallow => true,
            Fate::Pass(delay) => {
                if !delay.is_zero() {
                    thread::sleep(delay);
                }
                length > 0 && to.write_all(&piece[..length]).is_ok()
            }
            Fate::Reset if length > 0 => {
                let _ = to.write_all(&piece[..length / 2]);
                pair.reset();
                return;
            }
            Fate::Reset | Fate::Close => false,
        };
        if !is_passed {
            // No HTTP client or server of ours goes on with half a connection.
            pair.close();
            return;
        }
    }
}

/// The length of what came; 0 at the end, of whatever kind.
fn read(from: &mut &TcpStream, piece: &mut [u8]) -> usize {
    loop {
        match from.read(piece) {
            Ok(length) => return length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    /// A server that answers each line with the same line, until the test ends.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut writer = stream.try_clone().unwrap();
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        if writer.write_all(format!("{line}\n").as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn connect(link: &Link) -> TcpStream {
        let stream = TcpStream::connect(link.address).unwrap();
        stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        stream
    }

    /// What comes back for a line: some of it, or the end.
    fn ask(stream: &mut TcpStream, line: &str) -> io::Result<String> {
        stream.write_all(line.as_bytes())?;
        let mut answer = vec![0; 100];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    fn is_out_of_time(error: &io::Error) -> bool {
        use io::ErrorKind::{TimedOut, WouldBlock};
        matches!(error.kind(), TimedOut | WouldBlock)
    }

    /// Whether a line is met by nothing for a while.
    fn is_silent(stream: &mut TcpStream, line: &str) -> bool {
        let moment = Some(Duration::from_millis(300));
        stream.set_read_timeout(moment).unwrap();
        let answer = ask(stream, line);
        stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        answer.is_err_and(|error| is_out_of_time(&error))
    }

    fn is_end(result: &io::Result<String>) -> bool {
        match result {
            Ok(text) => text.is_empty(),
            Err(error) => !is_out_of_time(error),
        }
    }

    #[test]
    fn a_link_that_passes_changes_nothing_and_one_that_delays_only_the_time() {
        let link = Link::start(echo()).unwrap();
        let mut stream = connect(&link);
        assert_eq!(ask(&mut stream, "one\n").unwrap(), "one\n");
        link.set(Condition::Delayed(Duration::from_millis(50)));
        let started = Instant::now();
        assert_eq!(ask(&mut stream, "two\n").unwrap(), "two\n");
        assert!(started.elapsed() >= Duration::from_millis(100));
    }

    #[test]
    fn a_cut_link_ends_open_and_new_connections_and_heals() {
        let link = Link::start(echo()).unwrap();
        let mut stream = connect(&link);
        assert_eq!(ask(&mut stream, "one\n").unwrap(), "one\n");
        link.set(Condition::Cut);
        assert!(is_end(&ask(&mut stream, "two\n")));
        assert!(is_end(&ask(&mut connect(&link), "three\n")));
        link.set(Condition::Passing);
        assert_eq!(ask(&mut connect(&link), "four\n").unwrap(), "four\n");
    }

    #[test]
    fn what_a_silent_or_half_open_link_swallows_never_arrives() {
        for condition in [Condition::Silent, Condition::HalfOpen] {
            let link = Link::start(echo()).unwrap();
            let mut old = connect(&link);
            assert_eq!(ask(&mut old, "one\n").unwrap(), "one\n");
            link.set(condition);
            let mut new = connect(&link);
            assert!(is_silent(&mut old, "two\n"), "{condition:?}");
            assert!(is_silent(&mut new, "two\n"), "{condition:?}");
            link.set(Condition::Passing);
            // The reset may need a moment; what never comes is an answer.
            assert!(is_end(&ask(&mut old, "three\n")), "{condition:?}");
            assert!(is_end(&ask(&mut new, "three\n")), "{condition:?}");
            assert_eq!(ask(&mut connect(&link), "four\n").unwrap(), "four\n");
        }
    }

    #[test]
    fn a_resetting_link_shows_half_of_an_answer() {
        let link = Link::start(echo()).unwrap();
        link.set(Condition::Resetting);
        let mut stream = connect(&link);
        let answer = ask(&mut stream, "1234567\n");
        // The half may be overtaken by the reset.
        assert!(answer.is_err() || answer.unwrap() == "1234");
        assert!(is_end(&ask(&mut stream, "more\n")));
    }

    #[test]
    fn connections_that_ended_are_forgotten() {
        let link = Link::start(echo()).unwrap();
        for _ in 0..20 {
            assert_eq!(ask(&mut connect(&link), "one\n").unwrap(), "one\n");
        }
        crate::poll("the end of the connections", crate::PATIENCE, || {
            Ok(link.shared.state().pairs.is_empty().then_some(()))
        })
        .unwrap();
    }
}

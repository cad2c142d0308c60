//! The face on a socket.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use crate::support::Face;
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use miroir_http::{Patience, Transport, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Longer than anything here takes; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(120);
/// A limit that a test waits for; long beside what one step of a client takes on a busy machine.
const SHORT: Duration = Duration::from_millis(300);
/// Enough for a server to have seen what came before.
const MOMENT: Duration = Duration::from_millis(20);

/// A server and what stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(router: Router, transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(serve(listener, router, transport, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop: Some(stop),
            running,
        }
    }

    fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn ended(self) {
        let ended = tokio::time::timeout(LIMIT, self.running).await;
        ended.expect("it ends").unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.tell_to_stop();
        self.ended().await;
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn impatient() -> Patience {
    Patience {
        handshake_max: SHORT,
        head_max: SHORT,
        rest_max: LIMIT,
        stall_max: LIMIT,
    }
}

/// What the server says until it closes the connection.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
    // A reset closes as well.
    let _ = read.expect("it is closed");
    String::from_utf8_lossy(&rest).into_owned()
}

/// `GET /health` over HTTP/2: its version, status and body.
pub(crate) async fn ask_http2(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> (Version, u16, Bytes) {
    let io = TokioIo::new(io);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io)
            .await
            .expect("HTTP/2 is spoken");
    let connection = tokio::spawn(connection);
    let request = Request::get("http://localhost/health").body(Empty::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    drop(sender);
    let _ = connection.await;
    (parts.version, parts.status.as_u16(), body)
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// `GET /health` on a connection that is kept.
async fn ask_http1(connection: &mut TcpStream) -> String {
    connection.write_all(HEALTH).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut chunk = [0; 1024];
        let length = connection.read(&mut chunk).await.unwrap();
        assert_ne!(length, 0, "the connection was closed");
        answer.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_server_answers_keeps_connections_and_stops_when_told() {
    let face = Face::open().await;
    let server = Server::start(face.router.clone(), Transport::default()).await;
    let mut connection = server.connect().await;
    for _ in 0..2 {
        let answer = ask_http1(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    let address = server.address;
    server.stop().await;
    assert_eq!(rest(&mut connection).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_body_that_nobody_wanted_does_not_cost_the_connection() {
    let face = Face::open().await;
    let server = Server::start(face.router.clone(), Transport::default()).await;
    let mut connection = server.connect().await;
    let head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\ncontent-length: 4\r\n\r\n";
    connection.write_all(head).await.unwrap();
    // The server has the head before the body.
    tokio::time::sleep(MOMENT).await;
    connection.write_all(b"body").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(connection.read_u8().await.expect("an answer"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 404"));
    let next = ask_http1(&mut connection).await;
    assert!(next.starts_with("HTTP/1.1 200 OK"), "{next}");
    server.stop().await;
}

#[tokio::test]
async fn http2_is_spoken_without_tls_to_those_who_open_with_it() {
    let face = Face::open().await;
    let server = Server::start(face.router.clone(), Transport::default()).await;
    let (version, status, body) = ask_http2(server.connect().await).await;
    assert_eq!((version, status), (Version::HTTP_2, 200));
    assert_eq!(&body[..], br#"{"status":"available"}"#);
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let face = Face::open().await;
    let transport = Transport {
        patience: impatient(),
        ..Transport::default()
    };
    let server = Server::start(face.router.clone(), transport).await;
    for begun in [
        &b"G"[..],
        b"GET /health HTTP/1.1\r\nHost: lo",
        b"PRI * HTTP/2.0\r\n\r\nS",
    ] {
        let mut connection = server.connect().await;
        connection.write_all(begun).await.unwrap();
        let said = rest(&mut connection).await;
        assert!(!said.contains("200 OK"), "{said}");
    }
    // One that was answered is kept, however short the time for a head.
    let mut kept = server.connect().await;
    ask_http1(&mut kept).await;
    tokio::time::sleep(3 * SHORT).await;
    ask_http1(&mut kept).await;
    server.stop().await;
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_to_be_let_in() {
    let face = Face::open().await;
    let transport = Transport {
        connections_max: 1,
        ..Transport::default()
    };
    let server = Server::start(face.router.clone(), transport).await;
    let mut first = server.connect().await;
    ask_http1(&mut first).await;
    // The system takes the connection; the server does not.
    let mut second = server.connect().await;
    second.write_all(HEALTH).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(SHORT, second.read(&mut byte)).await;
    assert!(early.is_err(), "it must wait");
    drop(first);
    let answered = tokio::time::timeout(LIMIT, second.read(&mut byte)).await;
    assert_eq!(answered.expect("its turn came").unwrap(), 1);
    drop(second);
    server.stop().await;
}

/// A server whose only route answers when told to.
async fn slow_server(transport: Transport) -> (Server, Arc<Notify>, Arc<Notify>) {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (reached.clone(), go_on.clone());
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "late"
    };
    let router = Router::new().route("/", get(handler));
    (Server::start(router, transport).await, reached, go_on)
}

#[tokio::test]
async fn requests_under_way_are_answered_before_the_server_ends() {
    let (mut server, reached, go_on) = slow_server(Transport::default()).await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    reached.notified().await;
    server.tell_to_stop();
    assert_eq!(rest(&mut idle).await, "", "who asked nothing is sent away");
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(!server.running.is_finished());
    go_on.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("late"), "{answer}");
    server.ended().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server() {
    let transport = Transport {
        drain_max: SHORT,
        ..Transport::default()
    };
    let (mut server, reached, _go_on) = slow_server(transport).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    reached.notified().await;
    server.tell_to_stop();
    assert_eq!(rest(&mut busy).await, "");
    server.ended().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    /// Tells when the handler's future is dropped.
    struct Gone(Arc<Notify>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (reached, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, left) = (reached.clone(), gone.clone());
    let handler = async move || {
        let _gone = Gone(left.clone());
        tell.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/", post(handler));
    let server = Server::start(router, Transport::default()).await;
    let mut client = server.connect().await;
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    reached.notified().await;
    drop(client);
    let ended = tokio::time::timeout(LIMIT, gone.notified()).await;
    ended.expect("nothing is worked out for nobody");
    server.stop().await;
}

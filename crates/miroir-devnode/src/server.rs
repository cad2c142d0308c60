//! The process: folder, listener, worker thread, connections, end.

use crate::auth::KeyRing;
use crate::bell::Bell;
use crate::faults::Faults;
use crate::options::Options;
use crate::route;
use crate::shared::{PAYLOAD_FOLDER, Shared};
use crate::store::Store;
use crate::worker;
use axum::body::Body;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use miroir_devnode_engine::{Engine, EngineError, EngineOptions};
use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Indexes, below the node's folder.
const INDEX_FOLDER: &str = "indexes";
/// How long the end waits for the batch that runs. Leaving it is safe: it runs again.
const WORKER_END_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder cannot be made, read or written.
    #[error("cannot use the folder {folder}")]
    Folder {
        /// The folder asked for.
        folder: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The task store cannot be opened.
    #[error("cannot open the task store")]
    Store(#[source] rusqlite::Error),
    /// The engine cannot be opened.
    #[error("cannot open the engine")]
    Engine(#[source] EngineError),
    /// The thread of the worker cannot be started.
    #[error("cannot start the worker")]
    Worker(#[source] std::io::Error),
}

/// A node with its listener bound and its folder open.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    local_addr: SocketAddr,
    /// Ready when the worker has ended.
    worker_end: oneshot::Receiver<()>,
}

/// Runs a node until `shutdown` is ready, or until standard input ends where the options say so.
///
/// # Errors
/// When the address or the folder cannot be had.
pub async fn run(
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    Server::bind(options).await?.run(shutdown).await;
    Ok(())
}

impl Server {
    /// Binds the listener first, so that clients may connect while the folder is opened, then
    /// opens the folder and starts the worker.
    ///
    /// # Errors
    /// When the address or the folder cannot be had.
    pub async fn bind(options: Options) -> Result<Self, RunError> {
        let address = options.http_addr;
        let listen_error = |source| RunError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let local_addr = listener.local_addr().map_err(listen_error)?;
        let opened = tokio::task::spawn_blocking(move || open(options)).await;
        let shared = match opened {
            Ok(result) => Arc::new(result?),
            Err(panic) => {
                return Err(RunError::Worker(std::io::Error::other(panic)));
            }
        };
        let of_worker = Arc::clone(&shared);
        let (ended, worker_end) = oneshot::channel();
        std::thread::Builder::new()
            .name("devnode-worker".to_owned())
            .spawn(move || {
                worker::run(&of_worker);
                drop(of_worker);
                let _ = ended.send(());
            })
            .map_err(RunError::Worker)?;
        tracing::warn!(
            "miroir-devnode on {local_addr}: a development stand-in over the engine of Meilisearch \
             1.15, not Meilisearch; never use it in production"
        );
        Ok(Self {
            shared,
            listener,
            local_addr,
            worker_end,
        })
    }

    /// Where the node listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is ready. Then requests in flight are cut, as when a real node
    /// stops, and the batch that runs is waited for.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let stdin_end = stdin_end(self.shared.options.exit_on_stdin_eof);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept(&self.listener, &self.shared, &mut connections) => {}
            () = shutdown => {}
            () = stdin_end => {}
        }
        connections.shutdown().await;
        self.shared.bell.stop();
        if tokio::time::timeout(WORKER_END_TIMEOUT, &mut self.worker_end)
            .await
            .is_err()
        {
            tracing::warn!("a batch still ran at the end; it runs again after the next start");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.bell.stop();
    }
}

fn open(options: Options) -> Result<Shared, RunError> {
    let folder = options.db_path.clone();
    let of_folder = |source| RunError::Folder {
        folder: folder.display().to_string(),
        source,
    };
    let payload_folder = folder.join(PAYLOAD_FOLDER);
    let index_folder = folder.join(INDEX_FOLDER);
    std::fs::create_dir_all(&payload_folder).map_err(of_folder)?;
    std::fs::create_dir_all(&index_folder).map_err(of_folder)?;
    let store = Store::open(&folder.join("tasks.sqlite")).map_err(RunError::Store)?;
    let keys = KeyRing::load(&store, options.master_key.clone()).map_err(RunError::Store)?;
    let engine = Engine::open(EngineOptions {
        folder: index_folder.clone(),
        map_size: usize::try_from(options.max_index_size).unwrap_or(usize::MAX),
        indexing_threads: options.indexing_threads.max(1),
    })
    .map_err(RunError::Engine)?;
    let files: BTreeSet<String> = store
        .load_needed_files()
        .map_err(RunError::Store)?
        .into_iter()
        .collect();
    for file in names_in(&payload_folder).map_err(of_folder)? {
        if !files.contains(&file) {
            std::fs::remove_file(payload_folder.join(file)).map_err(of_folder)?;
        }
    }
    let indexes = store.get_indexes();
    let keys_in_use: BTreeSet<&str> = indexes.values().map(|index| index.key.as_str()).collect();
    for key in names_in(&index_folder).map_err(of_folder)? {
        if !keys_in_use.contains(key.as_str()) {
            engine.remove_index(&key).map_err(RunError::Engine)?;
        }
    }
    let faults = Faults::new(options.task_delay);
    Ok(Shared {
        options,
        engine,
        store,
        keys,
        faults,
        bell: Bell::default(),
    })
}

fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Ends when standard input does; never, if it is not asked to.
///
/// A thread of its own reads: one of the runtime's would keep the process from ending for as long
/// as the read lasts.
async fn stdin_end(asked: bool) {
    if !asked {
        return std::future::pending().await;
    }
    let (ended, end) = oneshot::channel();
    let reader = std::thread::Builder::new()
        .name("devnode-stdin".to_owned())
        .spawn(move || {
            let copied = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::debug!(?copied, "standard input has ended");
            let _ = ended.send(());
        });
    match reader {
        Ok(_handle) => {
            let _ = end.await;
        }
        Err(error) => {
            tracing::warn!(%error, "standard input is not watched");
            std::future::pending().await
        }
    }
}

/// Accepts connections for ever.
async fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let router = route::router(Arc::clone(shared));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, router.clone(), Arc::clone(shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Keeps the set from growing with connections long gone.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The answer is to be lost, see `faults.rs`.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut instead of answered")]
struct AnswerLost;

async fn serve(stream: TcpStream, router: route::App, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY is refused");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, shared) = (router.clone(), Arc::clone(&shared));
        async move {
            let response = match router.oneshot(request.map(Body::new)).await {
                Ok(response) => response,
                Err(impossible) => match impossible {},
            };
            if response.status() == StatusCode::ACCEPTED && shared.faults.take_lost_answer() {
                return Err(AnswerLost);
            }
            Ok(response)
        }
    });
    // No timer, and so no timeout: like a real node it leaves idle connections open.
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

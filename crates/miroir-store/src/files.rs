//! Payloads as files of one folder.
//!
//! A file is written under a temporary name, synced, renamed, and the folder synced: a name that
//! ends with `.payload` has all its bytes, whatever crashed. The name also tells the digest of the
//! bytes (`<uuid>-<digest>.payload`), so that damage is found before a node sees it. Temporary files
//! found at the start belong to writers that died, and go. All disk work happens on threads that may
//! block.

use async_trait::async_trait;
use bytes::Bytes;
use miroir_engine::port::{PayloadRef, PayloadStore, PayloadWriter, StoreError};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

/// Small pieces are gathered up to this size: one trip to a blocking thread for many lines.
const BUFFER_BYTES: usize = 512 * 1024;

/// A store that failed is trusted again when so much can be written: less, and it would fail again
/// at once.
const CHECK_BYTES: usize = 1024 * 1024;
static CHECK_BLOCK: [u8; 64 * 1024] = [b'm'; 64 * 1024];

const FINISHED: &str = "payload";
const UNFINISHED: &str = "tmp";

/// Payload files in a folder that nobody else writes to.
#[derive(Debug)]
pub struct FilePayloads {
    folder: Arc<Path>,
    /// Files that are to be removed once nobody holds them, and how many do.
    held: Arc<Mutex<Held>>,
    /// Keeps the store's folder ours as long as files may be written.
    _lock: Option<Arc<FolderLock>>,
}

impl FilePayloads {
    /// Opens the folder, makes it if needed, and removes what dead writers left.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::NoSpace`].
    pub fn open(folder: &Path) -> Result<Arc<Self>, StoreError> {
        Self::open_locked(folder, None)
    }

    pub(crate) fn open_locked(
        folder: &Path,
        lock: Option<Arc<FolderLock>>,
    ) -> Result<Arc<Self>, StoreError> {
        create_folder(folder)?;
        let entries = fs::read_dir(folder).map_err(|e| io_error(folder, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| io_error(folder, &e))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == UNFINISHED)
            {
                remove_file(&path)?;
            }
        }
        Ok(Arc::new(Self {
            folder: Arc::from(folder),
            held: Arc::default(),
            _lock: lock,
        }))
    }

    /// Keeps all files until the hold is dropped and [`Self::remove_held`] is called.
    #[cfg(feature = "sqlite")]
    pub(crate) fn hold(&self) -> Hold {
        self.held.lock().holds += 1;
        Hold(Arc::clone(&self.held))
    }

    /// Removes what was to be removed while it was held.
    #[cfg(feature = "sqlite")]
    pub(crate) async fn remove_held(&self) -> Result<(), StoreError> {
        let paths = {
            let mut held = self.held.lock();
            if held.holds > 0 {
                return Ok(());
            }
            std::mem::take(&mut held.paths)
        };
        blocking(move || paths.iter().try_for_each(|path| remove_file(path))).await
    }

    /// The path of a stored payload.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a name that could lead out of the folder.
    pub fn path(&self, payload: &PayloadRef) -> Result<PathBuf, StoreError> {
        let PayloadRef::File { name, .. } = payload;
        let is_plain = !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !is_plain {
            return Err(StoreError::Corrupt {
                what: "payload name",
                cause: name.clone(),
            });
        }
        Ok(self.folder.join(name))
    }
}

#[derive(Debug, Default)]
struct Held {
    holds: usize,
    paths: Vec<PathBuf>,
}

/// As long as this lives no payload file goes.
#[cfg(feature = "sqlite")]
#[derive(Debug)]
pub(crate) struct Hold(Arc<Mutex<Held>>);

#[cfg(feature = "sqlite")]
impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
    }
}

#[async_trait]
impl PayloadStore for FilePayloads {
    async fn create(&self) -> Result<Box<dyn PayloadWriter>, StoreError> {
        let stem = Uuid::new_v4().simple().to_string();
        let path = self.folder.join(format!("{stem}.{UNFINISHED}"));
        // The guard comes first: a caller that goes away while the file is made leaves nothing.
        let guard = UnfinishedFile { path: path.clone() };
        let (file, guard) = blocking(move || {
            let file = File::create_new(&path).map_err(|e| io_error(&path, &e))?;
            Ok((file, guard))
        })
        .await?;
        Ok(Box::new(FileWriter {
            folder: Arc::clone(&self.folder),
            stem,
            file: Some(Buffered {
                file,
                buffer: Vec::new(),
                digest: Box::new(Xxh3::new()),
            }),
            written: 0,
            guard,
        }))
    }

    async fn read_at(
        &self,
        payload: &PayloadRef,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, StoreError> {
        let path = self.path(payload)?;
        blocking(move || {
            let read = || -> io::Result<Vec<u8>> {
                let mut file = File::open(&path)?;
                let left = file
                    .metadata()?
                    .len()
                    .saturating_sub(offset)
                    .min(len as u64);
                let mut bytes = Vec::with_capacity(usize::try_from(left).unwrap_or(len));
                file.seek(SeekFrom::Start(offset))?;
                file.take(len as u64).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            read().map(Bytes::from).map_err(|e| io_error(&path, &e))
        })
        .await
    }

    async fn remove(&self, payloads: &[PayloadRef]) -> Result<(), StoreError> {
        if payloads.is_empty() {
            return Ok(());
        }
        let paths = payloads
            .iter()
            .map(|payload| self.path(payload))
            .collect::<Result<Vec<_>, _>>()?;
        {
            let mut held = self.held.lock();
            if held.holds > 0 {
                held.paths.extend(paths);
                return Ok(());
            }
        }
        // The folder is not synced: a removal that a power cut takes back is swept at the start.
        blocking(move || paths.iter().try_for_each(|path| remove_file(path))).await
    }

    async fn verify(&self, payload: &PayloadRef) -> Result<(), StoreError> {
        let path = self.path(payload)?;
        let PayloadRef::File { name, bytes } = payload.clone();
        blocking(move || verify_file(&path, &name, bytes)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let path = self
            .folder
            .join(format!("{}.{UNFINISHED}", Uuid::new_v4().simple()));
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            let guard = UnfinishedFile { path };
            let check = || -> io::Result<()> {
                let mut file = File::create_new(&guard.path)?;
                for _ in 0..CHECK_BYTES / CHECK_BLOCK.len() {
                    file.write_all(&CHECK_BLOCK)?;
                }
                file.sync_all()?;
                sync_folder(&folder)
            };
            check().map_err(|e| io_error(&guard.path, &e))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<PayloadRef>, StoreError> {
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            let list = || -> io::Result<Vec<PayloadRef>> {
                let mut payloads = Vec::new();
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    let Ok(name) = entry.file_name().into_string() else {
                        continue;
                    };
                    if name.ends_with(&format!(".{FINISHED}")) {
                        let bytes = entry.metadata()?.len();
                        payloads.push(PayloadRef::File { name, bytes });
                    }
                }
                Ok(payloads)
            };
            let mut payloads = list().map_err(|e| io_error(&folder, &e))?;
            payloads.sort_by(
                |PayloadRef::File { name: a, .. }, PayloadRef::File { name: b, .. }| a.cmp(b),
            );
            Ok(payloads)
        })
        .await
    }
}

/// Compares a file's length, and its digest where the name tells it (files of older versions have
/// none), with its bytes.
pub(crate) fn verify_file(path: &Path, name: &str, bytes: u64) -> Result<(), StoreError> {
    let damaged = |cause: String| StoreError::Corrupt {
        what: "payload",
        cause: format!("{}: {cause}", path.display()),
    };
    let mut file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged(e.to_string())),
        opened => opened.map_err(|e| io_error(path, &e))?,
    };
    let found = file.metadata().map_err(|e| io_error(path, &e))?.len();
    if found != bytes {
        return Err(damaged(format!("it has {found} bytes of {bytes}")));
    }
    let stem = name.strip_suffix(&format!(".{FINISHED}")).unwrap_or(name);
    let Some(expected) = stem
        .split_once('-')
        .and_then(|(_, digest)| u64::from_str_radix(digest, 16).ok())
    else {
        return Ok(());
    };
    let mut digest = Xxh3::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let len = file.read(&mut buffer).map_err(|e| io_error(path, &e))?;
        if len == 0 {
            break;
        }
        digest.update(&buffer[..len]);
    }
    if digest.digest() != expected {
        return Err(damaged("its bytes are not those that were written".into()));
    }
    Ok(())
}

/// Removes its file when dropped, unless the file was given its final name.
#[derive(Debug)]
pub(crate) struct UnfinishedFile {
    path: PathBuf,
}

impl UnfinishedFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It is somebody's now, and stays.
    fn keep(mut self) {
        self.path.clear();
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // After a rename there is nothing of that name; anything else is swept at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

struct Buffered {
    file: File,
    buffer: Vec<u8>,
    digest: Box<Xxh3>,
}

impl std::fmt::Debug for Buffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffered")
            .field("file", &self.file)
            .finish()
    }
}

impl Buffered {
    fn flush(&mut self, more: &[u8]) -> io::Result<()> {
        self.digest.update(&self.buffer);
        self.digest.update(more);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.file.write_all(more)
    }
}

#[derive(Debug)]
struct FileWriter {
    folder: Arc<Path>,
    stem: String,
    /// Away while a blocking thread has it; gone for good after a failure.
    file: Option<Buffered>,
    written: u64,
    guard: UnfinishedFile,
}

impl FileWriter {
    fn take_file(&mut self) -> Result<Buffered, StoreError> {
        self.file.take().ok_or_else(|| {
            StoreError::Io(format!(
                "{}: an earlier write failed",
                self.guard.path.display()
            ))
        })
    }
}

#[async_trait]
impl PayloadWriter for FileWriter {
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let mut file = self.take_file()?;
        self.written += bytes.len() as u64;
        if file.buffer.len() + bytes.len() <= BUFFER_BYTES {
            file.buffer.extend_from_slice(&bytes);
            self.file = Some(file);
            return Ok(());
        }
        let path = self.guard.path.clone();
        let file = blocking(move || match file.flush(&bytes) {
            Ok(()) => Ok(file),
            Err(e) => Err(io_error(&path, &e)),
        })
        .await?;
        self.file = Some(file);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<PayloadRef, StoreError> {
        let mut file = self.take_file()?;
        let Self {
            folder,
            stem,
            written,
            guard,
            ..
        } = *self;
        let (name, kept) = blocking(move || {
            let mut finish = || -> io::Result<(String, UnfinishedFile)> {
                file.flush(&[])?;
                file.file.sync_all()?;
                let name = format!("{stem}-{:016x}.{FINISHED}", file.digest.digest());
                let path = folder.join(&name);
                fs::rename(&guard.path, &path)?;
                // Of a caller that has gone away nobody would know.
                let kept = UnfinishedFile { path };
                sync_folder(&folder)?;
                Ok((name, kept))
            };
            finish().map_err(|e| io_error(&guard.path, &e))
        })
        .await?;
        kept.keep();
        Ok(PayloadRef::File {
            name,
            bytes: written,
        })
    }
}

/// Exclusive ownership of a folder, as long as the value lives.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// The operating system drops the lock with the file, however the process ends.
    _file: File,
}

#[cfg(feature = "sqlite")]
impl FolderLock {
    /// Takes the folder, making it if needed.
    pub(crate) fn take(folder: &Path) -> Result<Arc<Self>, StoreError> {
        create_folder(folder)?;
        let path = folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| unwritable(&path, folder, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Arc::new(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => {
                Err(StoreError::Locked(folder.display().to_string()))
            }
            Err(fs::TryLockError::Error(e)) => Err(io_error(&path, &e)),
        }
    }
}

/// Whether files can be made in a folder, and one that may be there can be written, before anything
/// else fails with words that name neither the cause nor the way out.
#[cfg(feature = "sqlite")]
pub(crate) fn check_writable(folder: &Path, file: &Path) -> Result<(), StoreError> {
    let guard =
        UnfinishedFile::new(folder.join(format!("{}.{UNFINISHED}", Uuid::new_v4().simple())));
    File::create_new(guard.path()).map_err(|e| unwritable(guard.path(), folder, &e))?;
    match File::options().write(true).open(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unwritable(file, folder, &e)),
        _ => Ok(()),
    }
}

/// The store's own folder cannot be written.
#[cfg(feature = "sqlite")]
fn unwritable(path: &Path, folder: &Path, e: &io::Error) -> StoreError {
    let way_out = match e.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system for writing",
        io::ErrorKind::PermissionDenied => {
            "give the folder and all in it to the user that runs Miroir"
        }
        _ => return io_error(path, e),
    };
    StoreError::Io(format!(
        "{}: {e}; Miroir must be able to write in {}: {way_out}, or choose another data_dir",
        path.display(),
        folder.display()
    ))
}

/// Makes a folder that lasts.
pub(crate) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            sync_folder(parent).map_err(|e| io_error(parent, &e))
        }
        _ => Ok(()),
    }
}

/// Makes the names of a folder durable. Windows has no such call and needs none.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(folder)?.sync_all()
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path, &e)),
        _ => Ok(()),
    }
}

pub(crate) fn io_error(path: &Path, e: &io::Error) -> StoreError {
    let text = format!("{}: {e}", path.display());
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace(text),
        _ => StoreError::Io(text),
    }
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(e) => Err(StoreError::Io(format!("a blocking task ended early: {e}"))),
    }
}

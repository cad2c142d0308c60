//! Dumps as files of one folder: gzipped tar archives, `{uid}.dump`.
//!
//! An archive says the length of a file before its content, so each file is spooled beside the
//! archive until it has ended. The archive is written under a temporary name, synced and renamed:
//! what ends with `.dump` is whole, whatever crashed. A writer that died leaves temporary files,
//! which the next one of the same uid overwrites.

use crate::files::{UnfinishedFile, blocking, create_folder, io_error, sync_folder};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use miroir_engine::job::port::{DumpPiece, DumpReader, DumpSource, DumpStore, DumpWriter};
use miroir_engine::port::StoreError;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Documents shrink to a fifth at any level; the higher ones take several times as long.
const LEVEL: u32 = 3;
/// What people find in a listing of the archive.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// A dump is read in pieces of this size, ...
const PIECE_BYTES: usize = 256 * 1024;
/// ... so many of them ahead.
const AHEAD: usize = 4;

/// A folder of dumps. It is made when the first one is written.
#[derive(Debug)]
pub struct FileDumps {
    folder: Arc<Path>,
}

impl FileDumps {
    /// The dumps of a folder.
    #[must_use]
    pub fn new(folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            folder: Arc::from(folder),
        })
    }
}

/// No path leads out of the folder by it.
fn check_plain(uid: &str) -> Result<(), StoreError> {
    let is_plain = !uid.is_empty() && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match is_plain {
        true => Ok(()),
        false => Err(StoreError::Corrupt {
            what: "dump uid",
            cause: uid.to_owned(),
        }),
    }
}

#[async_trait]
impl DumpStore for FileDumps {
    async fn open(
        &self,
        source: &DumpSource,
        paths: &[String],
    ) -> Result<Option<Box<dyn DumpReader>>, StoreError> {
        let path = match source {
            DumpSource::Uid(uid) => {
                check_plain(uid)?;
                self.folder.join(format!("{uid}.dump"))
            }
            DumpSource::File(path) => path.clone(),
        };
        let opened = blocking({
            let path = path.clone();
            move || match File::open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                file => file.map(Some).map_err(|e| io_error(&path, &e)),
            }
        });
        let Some(file) = opened.await? else {
            return Ok(None);
        };
        let (pieces, receiver) = mpsc::channel(AHEAD);
        let paths = paths.to_vec();
        // It ends with the dump, or when nobody reads any more.
        tokio::task::spawn_blocking(move || {
            if let Err(e) = read_pieces(file, &paths, &pieces) {
                let cause = format!("{}: {e}", path.display());
                let _ = pieces.blocking_send(Err(StoreError::Corrupt {
                    what: "dump",
                    cause,
                }));
            }
        });
        Ok(Some(Box::new(FileDumpReader(receiver))))
    }

    async fn create(&self, uid: &str) -> Result<Box<dyn DumpWriter>, StoreError> {
        check_plain(uid)?;
        let folder = Arc::clone(&self.folder);
        let archive_path = folder.join(format!(".{uid}.dump.tmp"));
        let spool_path = folder.join(format!(".{uid}.spool.tmp"));
        let finished = folder.join(format!("{uid}.dump"));
        let guards = [archive_path.clone(), spool_path.clone()].map(UnfinishedFile::new);
        let archive = blocking(move || {
            create_folder(&folder)?;
            let file = File::create(&archive_path).map_err(|e| io_error(&archive_path, &e))?;
            let spool = File::options()
                .create(true)
                .truncate(true)
                .read(true)
                .write(true)
                .open(&spool_path)
                .map_err(|e| io_error(&spool_path, &e))?;
            let encoder = GzEncoder::new(BufWriter::new(file), Compression::new(LEVEL));
            let mut archive = Archive {
                builder: Builder::new(encoder),
                spool,
                spooled: 0,
                open: None,
            };
            archive
                .folder(".")
                .map_err(|e| io_error(&archive_path, &e))?;
            Ok(archive)
        })
        .await?;
        Ok(Box::new(FileDumpWriter {
            folder: Arc::clone(&self.folder),
            finished,
            archive: Some(archive),
            guards,
        }))
    }
}

type Pieces = mpsc::Sender<Result<DumpPiece, StoreError>>;

/// Hands on the files of these paths.
fn read_pieces(file: File, paths: &[String], pieces: &Pieces) -> io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let path = path.trim_start_matches("./");
        if !entry.header().entry_type().is_file() || !paths.iter().any(|wanted| wanted == path) {
            if pieces.is_closed() {
                return Ok(());
            }
            continue;
        }
        let mut left = entry.size();
        loop {
            let size = left.min(PIECE_BYTES as u64);
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(PIECE_BYTES)];
            entry.read_exact(&mut bytes)?;
            left -= size;
            let piece = DumpPiece {
                path: path.to_owned(),
                bytes: Bytes::from(bytes),
                is_last: left == 0,
            };
            if pieces.blocking_send(Ok(piece)).is_err() {
                return Ok(());
            }
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}

struct FileDumpReader(mpsc::Receiver<Result<DumpPiece, StoreError>>);

#[async_trait]
impl DumpReader for FileDumpReader {
    async fn next(&mut self) -> Result<Option<DumpPiece>, StoreError> {
        self.0.recv().await.transpose()
    }
}

/// The archive and the file that is being spooled for it.
struct Archive {
    builder: Builder<GzEncoder<BufWriter<File>>>,
    spool: File,
    spooled: u64,
    open: Option<String>,
}

impl Archive {
    fn folder(&mut self, path: &str) -> io::Result<()> {
        self.end_file()?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Directory);
        header.set_mode(FOLDER_MODE);
        header.set_size(0);
        let path = Path::new(".").join(path);
        self.builder.append_data(&mut header, path, io::empty())
    }

    fn begin(&mut self, path: String) -> io::Result<()> {
        self.end_file()?;
        self.open = Some(path);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.spooled += bytes.len() as u64;
        self.spool.write_all(bytes)
    }

    /// Moves the file that was spooled into the archive.
    fn end_file(&mut self) -> io::Result<()> {
        let Some(path) = self.open.take() else {
            return Ok(());
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(FILE_MODE);
        header.set_size(self.spooled);
        self.spool.rewind()?;
        let content = Read::by_ref(&mut self.spool).take(self.spooled);
        let path = Path::new(".").join(path);
        self.builder.append_data(&mut header, path, content)?;
        self.spool.rewind()?;
        self.spool.set_len(0)?;
        self.spooled = 0;
        Ok(())
    }

    /// Writes all that is left and syncs it.
    fn finish(mut self) -> io::Result<()> {
        self.end_file()?;
        let file = self.builder.into_inner()?.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

struct FileDumpWriter {
    folder: Arc<Path>,
    finished: PathBuf,
    /// Away while a blocking thread has it; gone for good after a failure.
    archive: Option<Archive>,
    guards: [UnfinishedFile; 2],
}

impl FileDumpWriter {
    async fn with(
        &mut self,
        work: impl FnOnce(&mut Archive) -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut archive = self.take()?;
        let path = self.finished.clone();
        let archive = blocking(move || match work(&mut archive) {
            Ok(()) => Ok(archive),
            Err(e) => Err(io_error(&path, &e)),
        })
        .await?;
        self.archive = Some(archive);
        Ok(())
    }

    fn take(&mut self) -> Result<Archive, StoreError> {
        self.archive.take().ok_or_else(|| {
            StoreError::Io(format!(
                "{}: an earlier write failed",
                self.finished.display()
            ))
        })
    }
}

#[async_trait]
impl DumpWriter for FileDumpWriter {
    async fn folder(&mut self, path: &str) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.with(move |archive| archive.folder(&path)).await
    }

    async fn begin(&mut self, path: &str) -> Result<(), StoreError> {
        let path = path.to_owned();
        self.with(move |archive| archive.begin(path)).await
    }

    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.with(move |archive| archive.append(&bytes)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        let archive = self.take()?;
        let Self {
            folder,
            finished,
            guards,
            ..
        } = *self;
        blocking(move || {
            let [written, _spool] = &guards;
            let finish = || -> io::Result<()> {
                archive.finish()?;
                fs::rename(written.path(), &finished)?;
                sync_folder(&folder)
            };
            finish().map_err(|e| io_error(&finished, &e))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_dump_is_seen_only_whole_and_holds_its_files() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("dumps");
        let dumps = FileDumps::new(&folder);
        let long = format!("indexes/{}/documents.jsonl", "a".repeat(400));
        let mut writer = dumps.create("20260101-1").await.unwrap();
        writer.folder("indexes").await.unwrap();
        writer.begin("metadata.json").await.unwrap();
        writer.append(Bytes::from_static(b"{}")).await.unwrap();
        writer.begin("empty.jsonl").await.unwrap();
        writer.begin(&long).await.unwrap();
        for _ in 0..3 {
            let line = Bytes::from(vec![b'x'; 100_000]);
            writer.append(line).await.unwrap();
        }
        assert!(!names(&folder).contains(&"20260101-1.dump".to_owned()));
        writer.finish().await.unwrap();
        assert_eq!(names(&folder), ["20260101-1.dump"]);

        let file = File::open(folder.join("20260101-1.dump")).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(file));
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path.trim_start_matches("./").to_owned(), content.len());
        }
        assert_eq!(found["metadata.json"], 2);
        assert_eq!(found["empty.jsonl"], 0);
        assert_eq!(found[&long], 300_000);
        assert!(found.keys().any(|path| path.trim_matches('/') == "indexes"));

        let paths = ["empty.jsonl".to_owned(), long, "none".to_owned()];
        let mut ends = Vec::new();
        let source = DumpSource::Uid("20260101-1".to_owned());
        let mut reader = dumps.open(&source, &paths).await.unwrap().unwrap();
        let mut bytes = 0;
        while let Some(piece) = reader.next().await.unwrap() {
            bytes += piece.bytes.len();
            if piece.is_last {
                ends.push((piece.path, bytes));
            }
        }
        let [empty, long, _] = paths;
        assert_eq!(ends, [(empty, 0), (long, 300_000)]);
    }

    #[tokio::test]
    async fn what_is_no_dump_is_told_so() {
        let home = tempfile::tempdir().unwrap();
        let dumps = FileDumps::new(home.path());
        let open = async |source| dumps.open(&source, &["metadata.json".to_owned()]).await;
        let missing = open(DumpSource::Uid("1".to_owned())).await;
        assert!(missing.unwrap().is_none());
        assert!(open(DumpSource::Uid("../1".to_owned())).await.is_err());
        let file = home.path().join("x.dump");
        fs::write(&file, "no archive").unwrap();
        let mut reader = open(DumpSource::File(file)).await.unwrap().unwrap();
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { what: "dump", .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let dumps = FileDumps::new(home.path());
        let mut writer = dumps.create("1").await.unwrap();
        writer.begin("a").await.unwrap();
        writer.append(Bytes::from_static(b"a")).await.unwrap();
        drop(writer);
        assert!(names(home.path()).is_empty());
        assert!(dumps.create("../1").await.is_err());
    }
}

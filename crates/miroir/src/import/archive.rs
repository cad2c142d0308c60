//! Takes a dump apart into a folder: its files come in any order, and large ones before the small
//! ones that say what they are.

use anyhow::{Context, bail};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

/// `tasks/update_files/7.jsonl` has three.
const DEPTH_MAX: usize = 4;

/// The files of a dump, on disk as long as the value lives.
#[derive(Debug)]
pub(super) struct Unpacked {
    folder: TempDir,
}

impl Unpacked {
    /// Unpacks `dump` below `home`.
    ///
    /// # Errors
    /// It cannot be read, is no gzipped tar archive, or holds what no dump holds.
    pub(super) fn open(dump: &Path, home: &Path) -> anyhow::Result<Self> {
        let file = File::open(dump)
            .with_context(|| format!("the dump {} cannot be opened", dump.display()))?;
        fs::create_dir_all(home)?;
        let folder = tempfile::Builder::new()
            .prefix("import-")
            .tempdir_in(home)
            .with_context(|| format!("no folder can be made in {}", home.display()))?;
        let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
        let unreadable = || format!("{} is no dump: it cannot be unpacked", dump.display());
        for entry in archive.entries().with_context(unreadable)? {
            let mut entry = entry.with_context(unreadable)?;
            let kind = entry.header().entry_type();
            let path = entry.path().with_context(unreadable)?;
            let Some(path) = plain(&path) else {
                bail!(
                    "{} is no dump: it holds the path {}",
                    dump.display(),
                    path.display()
                );
            };
            let target = folder.path().join(path);
            if kind.is_dir() {
                fs::create_dir_all(&target)?;
            } else if kind.is_file() {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent)?;
                }
                let mut file = File::create(&target)?;
                io::copy(&mut entry, &mut file).with_context(unreadable)?;
            } else {
                bail!(
                    "{} is no dump: it holds more than files and folders",
                    dump.display()
                );
            }
        }
        Ok(Self { folder })
    }

    /// The text of a file; `None` if there is no such file.
    pub(super) fn text(&self, path: &str) -> anyhow::Result<Option<String>> {
        match fs::read_to_string(self.path(path)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(format!("`{path}` of the dump cannot be read")),
        }
    }

    /// A file to be read piece by piece; `None` if there is no such file.
    pub(super) fn file(&self, path: &str) -> anyhow::Result<Option<File>> {
        match File::open(self.path(path)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(format!("`{path}` of the dump cannot be read")),
        }
    }

    /// The names of the folders in `path`, in order.
    pub(super) fn folders(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The names of the JSON files in `path` without their ending, in order.
    pub(super) fn json_files(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().unwrap_or_default();
            if let Some(name) = name.strip_suffix(".json") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
}

/// The path without its leading dot, if it stays below the folder it is joined to.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            _ => return None,
        }
    }
    (plain.components().count() <= DEPTH_MAX).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_their_folder() {
        assert_eq!(plain(Path::new("./a/b")), Some(PathBuf::from("a/b")));
        assert_eq!(plain(Path::new("./")), Some(PathBuf::new()));
        for path in ["../a", "a/../../b", "/etc/passwd", "a/b/c/d/e"] {
            assert_eq!(plain(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_archive_is_told_so() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("x.dump");
        fs::write(&file, b"not gzip").unwrap();
        let told = Unpacked::open(&file, home.path()).unwrap_err().to_string();
        assert!(told.contains("is no dump"), "{told}");
    }
}

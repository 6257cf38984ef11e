//! Checkpoints that survive a loss of power at any moment.
//!
//! A checkpoint is one folder: files, and a manifest with their SHA-256 that is written
//! last. It is written under a temporary name, every file and the folder are flushed to the
//! disk, and then it is renamed; so a folder with a number is whole, or its manifest tells
//! that it is not. The last few are kept, and the best one.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::digest;

/// The version of the files written here.
const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const PARTIAL: &str = ".partial";

/// How often and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Seconds between two checkpoints; 0: only when the run is stopped.
    pub every_s: f64,
    /// The latest that are kept, beside the best.
    pub keep: usize,
    /// Free space that a checkpoint must leave on the disk, bytes.
    pub disk_floor_bytes: u64,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        CheckpointConfig { every_s: 60.0, keep: 2, disk_floor_bytes: 256 << 20 }
    }
}

/// Why a checkpoint was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Too little room on the disk.
    #[error(
        "{path}: a checkpoint needs {needed} bytes and must leave {floor} free, but only {free} are"
    )]
    DiskFull {
        /// Where it was to be written.
        path: PathBuf,
        /// Bytes of the checkpoint.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        floor: u64,
    },
    /// There is no whole checkpoint.
    #[error("{path} has no whole checkpoint{}", told(skipped))]
    None {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Those that are damaged, and why.
        skipped: Vec<Skipped>,
    },
}

fn told(skipped: &[Skipped]) -> String {
    skipped.iter().map(|s| format!("; {}: {}", s.name, s.why)).collect()
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its folder's name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// The few things that a checkpoint asks of a disk, so that a test can pull the plug at
/// each of them.
pub trait Disk {
    /// Makes a folder; those above it exist.
    ///
    /// # Errors
    /// What the system says; so for all of these.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a new file.
    #[allow(clippy::missing_errors_doc)]
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Flushes a file or a folder to the disk.
    #[allow(clippy::missing_errors_doc)]
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Renames a folder.
    #[allow(clippy::missing_errors_doc)]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    #[allow(clippy::missing_errors_doc)]
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Free bytes, where that can be told.
    fn free_bytes(&self, path: &Path) -> Option<u64>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        std::fs::write(path, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let stat = rustix::fs::statvfs(path).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
}

/// The files of a checkpoint by name.
pub type Files = BTreeMap<String, Vec<u8>>;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    crate_version: String,
    /// How good the policy was, to keep the best.
    score: f64,
    /// SHA-256 and length of each file.
    files: BTreeMap<String, (String, u64)>,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Its number.
    pub number: u64,
    /// Its files.
    pub files: Files,
    /// Later ones that are damaged.
    pub skipped: Vec<Skipped>,
}

/// A folder of checkpoints.
pub struct Checkpoints<D = FileSystem> {
    root: PathBuf,
    disk: D,
    config: CheckpointConfig,
}

impl<D: Disk> Checkpoints<D> {
    /// Checkpoints in `root`; the folder is made with the first.
    pub fn new(root: PathBuf, disk: D, config: CheckpointConfig) -> Self {
        Checkpoints { root, disk, config }
    }

    /// Writes the next checkpoint and removes those that are no longer wanted. `score` tells
    /// how good it is. Gives its number.
    ///
    /// # Errors
    /// [`CheckpointError`]; earlier checkpoints are as they were.
    pub fn save(&self, files: &Files, score: f64) -> Result<u64, CheckpointError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| CheckpointError::Io { path, source }
        };
        if !self.root.is_dir() {
            self.disk.create_dir(&self.root).map_err(at(&self.root))?;
        }
        let needed = files.values().map(|bytes| bytes.len() as u64).sum::<u64>() + (1 << 16);
        let floor = self.config.disk_floor_bytes;
        if let Some(free) = self.disk.free_bytes(&self.root)
            && free < needed.saturating_add(floor)
        {
            return Err(CheckpointError::DiskFull { path: self.root.clone(), needed, free, floor });
        }
        let number = self.numbers().last().map_or(1, |last| last + 1);
        let partial = self.root.join(PARTIAL);
        if partial.exists() {
            self.disk.remove_dir_all(&partial).map_err(at(&partial))?;
        }
        self.disk.create_dir(&partial).map_err(at(&partial))?;
        let mut manifest = Manifest {
            format: FORMAT,
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            score,
            files: BTreeMap::new(),
        };
        let write = |name: &str, bytes: &[u8]| {
            let path = partial.join(name);
            self.disk.write(&path, bytes).map_err(at(&path))?;
            self.disk.sync(&path).map_err(at(&path))
        };
        for (name, bytes) in files {
            write(name, bytes)?;
            manifest.files.insert(name.clone(), (digest::hex(bytes), bytes.len() as u64));
        }
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| CheckpointError::Io {
            path: partial.join(MANIFEST),
            source: io::Error::other(e),
        })?;
        write(MANIFEST, &text)?;
        self.disk.sync(&partial).map_err(at(&partial))?;
        let whole = self.folder(number);
        self.disk.rename(&partial, &whole).map_err(at(&whole))?;
        self.disk.sync(&self.root).map_err(at(&self.root))?;
        self.prune()?;
        Ok(number)
    }

    /// The latest whole checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::None`] when there is none, with what is wrong with those that are.
    pub fn load(&self) -> Result<Loaded, CheckpointError> {
        let mut skipped = Vec::new();
        for number in self.numbers().into_iter().rev() {
            match read(&self.folder(number)) {
                Ok(files) => return Ok(Loaded { number, files, skipped }),
                Err(why) => skipped.push(Skipped { name: name(number), why }),
            }
        }
        Err(CheckpointError::None { path: self.root.clone(), skipped })
    }

    /// Numbers of the checkpoints, rising.
    pub fn numbers(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let number = |entry: std::fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_str()?;
            let sound = name.len() == 8 && name.bytes().all(|b| b.is_ascii_digit());
            sound.then(|| name.parse().ok())?
        };
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.root.join(name(number))
    }

    /// Removes what is neither among the latest nor the best.
    fn prune(&self) -> Result<(), CheckpointError> {
        let numbers = self.numbers();
        let old = numbers.len().saturating_sub(self.config.keep.max(1));
        let score = |number: u64| {
            let text = std::fs::read(self.folder(number).join(MANIFEST)).ok()?;
            let manifest: Manifest = serde_json::from_slice(&text).ok()?;
            Some(manifest.score)
        };
        let scores: Vec<(u64, f64)> =
            numbers.iter().filter_map(|&n| score(n).map(|score| (n, score))).collect();
        // Of equally good ones the latest.
        let best = scores.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(number, _)| *number);
        for &number in numbers.iter().take(old).filter(|number| Some(**number) != best) {
            let path = self.folder(number);
            self.disk
                .remove_dir_all(&path)
                .map_err(|source| CheckpointError::Io { path, source })?;
        }
        Ok(())
    }
}

/// What the folder of a checkpoint is called.
pub fn name(number: u64) -> String {
    format!("{number:08}")
}

/// The files of one checkpoint, if it is whole.
fn read(folder: &Path) -> Result<Files, String> {
    let text = std::fs::read(folder.join(MANIFEST)).map_err(|e| format!("{MANIFEST}: {e}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| format!("{MANIFEST}: {e}"))?;
    if manifest.format != FORMAT {
        return Err(format!("format {} is not known here ({FORMAT} is)", manifest.format));
    }
    let mut files = Files::new();
    for (name, (sha256, length)) in manifest.files {
        if Path::new(&name).components().count() != 1 || name.contains("..") {
            return Err(format!("{name:?} is no name of a file"));
        }
        let path = folder.join(&name);
        let there = std::fs::metadata(&path).map_err(|e| format!("{name}: {e}"))?.len();
        if there != length {
            return Err(format!("{name} has {there} bytes, not {length}"));
        }
        let bytes = std::fs::read(&path).map_err(|e| format!("{name}: {e}"))?;
        if digest::hex(&bytes) != sha256 {
            return Err(format!("{name} is damaged: its SHA-256 is not the manifest's"));
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A disk whose plug is pulled before the n-th operation; a file that was being written
    /// is cut in half, one that was not flushed may be empty.
    struct Unplugged {
        left: Cell<usize>,
    }

    impl Unplugged {
        fn tick(&self) -> io::Result<()> {
            match self.left.get() {
                0 => Err(io::Error::other("no power")),
                left => {
                    self.left.set(left - 1);
                    Ok(())
                }
            }
        }
    }

    impl Disk for Unplugged {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.tick()?;
            FileSystem.create_dir(path)
        }

        fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
            if self.left.get() == 0 {
                let _ = FileSystem.write(path, &bytes[..bytes.len() / 2]);
            }
            self.tick()?;
            FileSystem.write(path, bytes)
        }

        fn sync(&self, path: &Path) -> io::Result<()> {
            if self.left.get() == 0 && path.is_file() {
                let _ = FileSystem.write(path, b"");
            }
            self.tick()
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.tick()?;
            FileSystem.rename(from, to)
        }

        fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
            if self.left.get() == 0 {
                // Half removed: the manifest goes first, as a directory's order may have it.
                let _ = std::fs::remove_file(path.join(MANIFEST));
            }
            self.tick()?;
            FileSystem.remove_dir_all(path)
        }

        fn free_bytes(&self, _path: &Path) -> Option<u64> {
            None
        }
    }

    fn files(n: u64) -> Files {
        let file = |name: &str| (name.to_owned(), format!("{name} of {n}").into_bytes());
        ["state.cbor", "candidate.safetensors", "memory.tasks"].map(file).into_iter().collect()
    }

    fn config(keep: usize) -> CheckpointConfig {
        CheckpointConfig { keep, ..CheckpointConfig::default() }
    }

    #[test]
    fn pulling_the_plug_at_any_operation_leaves_the_last_checkpoint_whole() {
        let mut killed = 0;
        for operations in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("checkpoints");
            let sound = Checkpoints::new(root.clone(), FileSystem, config(2));
            (1..=3).for_each(|n| {
                sound.save(&files(n), 0.5 + n as f64 * 0.1).unwrap();
            });
            let disk = Unplugged { left: Cell::new(operations) };
            let saved = Checkpoints::new(root.clone(), disk, config(2)).save(&files(4), 0.1);
            let loaded = sound.load().unwrap();
            assert!(loaded.skipped.is_empty(), "{operations}: {:?}", loaded.skipped);
            let whole = loaded.files == files(3) || loaded.files == files(4);
            assert!(whole, "{operations}: a mixed checkpoint");
            // And it goes on from there.
            sound.save(&files(5), 0.2).unwrap();
            assert_eq!(sound.load().unwrap().files, files(5));
            match saved {
                Ok(_) => break,
                Err(_) => killed += 1,
            }
        }
        assert!(killed >= 12, "only {killed} operations were interrupted");
    }

    #[test]
    fn a_damaged_checkpoint_is_skipped_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().to_owned(), FileSystem, config(3));
        (1..=2).for_each(|n| {
            checkpoints.save(&files(n), 0.0).unwrap();
        });
        std::fs::write(folder.path().join("00000002/memory.tasks"), b"memory.tasks of 3").unwrap();
        let loaded = checkpoints.load().unwrap();
        assert_eq!((loaded.number, loaded.files), (1, files(1)));
        assert!(loaded.skipped[0].why.contains("memory.tasks is damaged"), "{:?}", loaded.skipped);
        std::fs::remove_file(folder.path().join("00000001/manifest.json")).unwrap();
        let error = checkpoints.load().unwrap_err().to_string();
        assert!(error.contains("no whole checkpoint") && error.contains("00000001"), "{error}");
    }

    #[test]
    fn the_latest_and_the_best_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().to_owned(), FileSystem, config(2));
        for (n, score) in [(1, 0.3), (2, 0.9), (3, 0.4), (4, 0.5), (5, 0.2)] {
            checkpoints.save(&files(n), score).unwrap();
        }
        assert_eq!(checkpoints.numbers(), [2, 4, 5]);
    }

    #[test]
    fn a_full_disk_is_told_with_numbers_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let roomy = Checkpoints::new(folder.path().to_owned(), FileSystem, config(2));
        roomy.save(&files(1), 0.0).unwrap();
        let greedy = CheckpointConfig { disk_floor_bytes: u64::MAX / 2, ..config(2) };
        let full = Checkpoints::new(folder.path().to_owned(), FileSystem, greedy);
        let error = full.save(&files(2), 0.0).unwrap_err();
        assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
        assert_eq!(full.load().unwrap().files, files(1));
    }
}

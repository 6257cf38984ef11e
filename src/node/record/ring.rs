//! The files of a recording: new ones as they fill, the oldest removed, the disk left free.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    RecordError, Sample,
    file::{self, Contents, RingFile},
    metadata,
};

const PREFIX: &str = "spatial_ssrl_";
const SUFFIX: &str = ".mcap";
/// A file that is being repaired.
const PARTIAL: &str = ".partial";
const METADATA: &str = "metadata.yaml";
/// Kept free of the limit for `metadata.yaml`, twice.
const METADATA_BYTES: u64 = 128 << 10;
/// So much may be lost when the power fails.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// The most files that are kept, whatever the limits: `metadata.yaml` names each.
const MAX_FILES: usize = 256;

/// How much a ring may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Bytes of all files.
    pub max_bytes: u64,
    /// Bytes after which a file is closed; at most half of `max_bytes`.
    pub file_bytes: u64,
    /// Bytes that stay free on the disk.
    pub disk_floor_bytes: u64,
}

/// A folder of files.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    limits: RingLimits,
    /// Finished files by number, the oldest first.
    closed: VecDeque<(u64, Contents)>,
    open: Option<(u64, RingFile)>,
    next: u64,
    removed: u64,
    synced: Instant,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> RecordError + '_ {
    |source| RecordError::Io { path: path.to_owned(), source }
}

fn file_name(number: u64) -> String {
    format!("{PREFIX}{number}{SUFFIX}")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    // The name that we would give, nothing like it: no sign, no leading zero.
    digits.parse().ok().filter(|number| file_name(*number) == name)
}

impl Ring {
    /// Opens the recording in `folder`, which is made if it is not there. Files that an earlier
    /// run left are kept within the limits; one that was cut off is repaired.
    ///
    /// # Errors
    /// [`RecordError::NotOurs`] for a folder with something else in it,
    /// [`RecordError::Limits`], [`RecordError::Io`].
    pub fn open(folder: &Path, limits: RingLimits) -> Result<Self, RecordError> {
        let RingLimits { file_bytes, max_bytes, .. } = limits;
        if file_bytes > max_bytes / 2 {
            return Err(RecordError::Limits { file_bytes, max_bytes });
        }
        fs::create_dir_all(folder).map_err(io_error(folder))?;
        let mut ring = Ring {
            folder: folder.to_owned(),
            limits,
            closed: VecDeque::new(),
            open: None,
            next: 0,
            removed: 0,
            synced: Instant::now(),
        };
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder).map_err(io_error(folder))? {
            let entry = entry.map_err(io_error(folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let partial = name.strip_suffix(PARTIAL).map(str::to_owned);
            match (number_of(&name), partial) {
                (Some(number), _) if is_file => numbers.push(number),
                (_, Some(of)) if is_file && (number_of(&of).is_some() || of == METADATA) => {
                    fs::remove_file(entry.path()).map_err(io_error(&entry.path()))?;
                }
                _ if name == METADATA && is_file => {}
                _ => return Err(RecordError::NotOurs { path: folder.to_owned(), found: name }),
            }
        }
        numbers.sort_unstable();
        for number in numbers {
            ring.take_over(number)?;
        }
        ring.make_room(0)?;
        ring.write_metadata()?;
        Ok(ring)
    }

    /// Takes in a file of an earlier run.
    fn take_over(&mut self, number: u64) -> Result<(), RecordError> {
        let path = self.path(number);
        let failed = io_error(&path);
        self.next = number.saturating_add(1);
        let contents = match file::read_contents(&path).map_err(&failed)? {
            Some(contents) => contents,
            None => {
                let partial = self.folder.join(file_name(number) + PARTIAL);
                let contents = file::repair(&path, &partial).map_err(&failed)?;
                fs::rename(&partial, &path).map_err(&failed)?;
                contents
            }
        };
        if contents.messages() == 0 {
            return fs::remove_file(&path).map_err(failed);
        }
        self.closed.push_back((number, contents));
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// Number of files and their bytes.
    pub fn held(&self) -> (u64, u64) {
        let open = self.open.iter().map(|(_, file)| file.contents.bytes);
        let closed = self.closed.iter().map(|(_, contents)| contents.bytes);
        let files = self.closed.len() + usize::from(self.open.is_some());
        (files as u64, closed.chain(open).sum())
    }

    /// Files that were removed to make room.
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// Writes the messages of one frame.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`], [`RecordError::DiskFloor`], [`RecordError::Io`]; what was
    /// written before stays.
    pub fn append(&mut self, log_ns: i64, samples: &[Sample]) -> Result<(), RecordError> {
        // Times before the epoch cannot be said in MCAP.
        let log_ns = u64::try_from(log_ns).unwrap_or(0);
        let full = |(_, file): &(u64, RingFile)| {
            let after = file.contents.bytes + file.bound(samples);
            !file.is_fresh() && after > self.limits.file_bytes
        };
        if self.open.as_ref().is_some_and(full) {
            self.close()?;
        }
        if self.open.is_none() {
            self.begin(samples)?;
        }
        let Some(bound) = self.open.as_ref().map(|(_, file)| file.bound(samples)) else {
            return Ok(());
        };
        self.make_room(bound)?;
        let path = self.folder.clone();
        let Some((_, file)) = &mut self.open else { return Ok(()) };
        if let Err(error) = file.append(log_ns, samples) {
            // What was written before this frame is kept.
            self.close()?;
            return Err(io_error(&path)(error));
        }
        if self.synced.elapsed() >= SYNC_EVERY {
            file.sync().map_err(io_error(&path))?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    /// Begins a new file, if there is room for these messages in it.
    fn begin(&mut self, samples: &[Sample]) -> Result<(), RecordError> {
        let payload: u64 = samples.iter().map(|sample| sample.len() as u64 + 512).sum();
        self.make_room(payload)?;
        let path = self.path(self.next);
        let file = RingFile::create(&path).map_err(io_error(&path))?;
        self.open = Some((self.next, file));
        self.next += 1;
        self.write_metadata()
    }

    /// Removes the oldest files until so many bytes more fit.
    fn make_room(&mut self, bytes: u64) -> Result<(), RecordError> {
        let RingLimits { max_bytes, disk_floor_bytes: floor, .. } = self.limits;
        loop {
            let after = self.held().1 + bytes + METADATA_BYTES;
            let free = free_bytes(&self.folder);
            let fits = after <= max_bytes && self.closed.len() < MAX_FILES;
            let floor_kept =
                bytes == 0 || free.is_none_or(|free| free >= floor.saturating_add(bytes));
            if fits && floor_kept {
                return Ok(());
            }
            let Some((number, _)) = self.closed.front() else {
                return match free {
                    _ if bytes == 0 => Ok(()),
                    Some(free) if fits => {
                        Err(RecordError::DiskFloor { needed: bytes, free, floor })
                    }
                    _ => Err(RecordError::TooLarge { bytes, max_bytes }),
                };
            };
            let path = self.path(*number);
            match fs::remove_file(&path) {
                // Somebody else removed it: so much the better.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error(&path)(error));
                }
                _ => {}
            }
            self.closed.pop_front();
            self.removed += 1;
            self.write_metadata()?;
        }
    }

    /// Ends the file that is being written.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn close(&mut self) -> Result<(), RecordError> {
        let Some((number, file)) = self.open.take() else { return Ok(()) };
        let path = self.path(number);
        let contents = file.finish().map_err(io_error(&path))?;
        if contents.messages() == 0 {
            fs::remove_file(&path).map_err(io_error(&path))?;
        } else {
            self.closed.push_back((number, contents));
        }
        self.write_metadata()
    }

    fn write_metadata(&self) -> Result<(), RecordError> {
        let closed = self.closed.iter().map(|(number, contents)| (file_name(*number), contents));
        let open = self.open.iter().map(|(number, file)| (file_name(*number), &file.contents));
        let files: Vec<(String, &Contents)> = closed.chain(open).collect();
        let path = self.folder.join(METADATA);
        let partial = self.folder.join(METADATA.to_owned() + PARTIAL);
        let write = || -> io::Result<()> {
            // Made anew, so that nothing is written through a link.
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::File::options().write(true).create_new(true).open(&partial)?;
            io::Write::write_all(&mut file, metadata::yaml(&files).as_bytes())?;
            fs::rename(&partial, &path)
        };
        write().map_err(io_error(&path))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::warn!("the recording was not closed: {error}");
        }
    }
}

fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! Which files make a bag, and reading them one after the other as if they were one.

use std::{
    collections::VecDeque,
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
};

use super::{
    db3::Db3File,
    mcap::McapFile,
    meta::{self, Metadata},
    storage::{Recorded, Storage, StoredTopic},
    unpack::{self, TempFile, ZSTD_MAGIC},
};
use crate::{source::SourceError, tally::Tally};

/// The most files of one bag.
const MAX_FILES: usize = 100_000;

/// Without metadata so many files are opened to learn their topics.
const MAX_FILES_ASKED: usize = 64;

/// File names that a bag's parts have.
const ENDINGS: [&str; 4] = [".mcap", ".db3", ".mcap.zstd", ".db3.zstd"];

/// Whether a file of that name may be part of a bag.
pub fn is_bag_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Whether a folder looks like a bag.
pub fn is_bag_folder(path: &Path) -> bool {
    path.join("metadata.yaml").is_file() || bag_files_in(path).is_ok_and(|files| !files.is_empty())
}

/// Bag files of a folder, `_2` before `_10`.
fn bag_files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .take(MAX_FILES)
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| is_bag_file(path))
        .collect();
    files.sort_by_cached_key(|path| crate::source::folder::natural_key(path));
    Ok(files)
}

/// The files of a bag, read in order.
pub struct BagFiles {
    path: PathBuf,
    parts: Vec<PathBuf>,
    /// What `metadata.yaml` says, where there is one.
    pub meta: Option<Metadata>,
    /// What a person should know about how the files were found.
    pub notes: Vec<String>,
    found_lost: Tally,
    wanted: Vec<String>,
    waiting: VecDeque<PathBuf>,
    open: Option<OpenPart>,
    why_not: Option<String>,
}

struct OpenPart {
    path: PathBuf,
    storage: Box<dyn Storage>,
    /// Deleted when the part is closed.
    _copy: Option<TempFile>,
    /// Loss that was found on opening; told at the start of each reading.
    lost: Tally,
}

impl BagFiles {
    /// Finds the files of the bag at `path`: a folder, or one file.
    ///
    /// # Errors
    /// [`SourceError::Nothing`] when there is none.
    pub fn find(path: &Path) -> Result<Self, SourceError> {
        let mut bag = BagFiles {
            path: path.to_owned(),
            parts: Vec::new(),
            meta: None,
            notes: Vec::new(),
            found_lost: Tally::default(),
            wanted: Vec::new(),
            waiting: VecDeque::new(),
            open: None,
            why_not: None,
        };
        if path.is_dir() {
            bag.find_in_folder(path)?;
        } else {
            bag.parts.push(path.to_owned());
        }
        if bag.parts.is_empty() {
            let missing = bag.found_lost.get("file_missing");
            return Err(bag.nothing(&format!(
                "it has no .mcap, .db3 or .zstd file ({missing} named in metadata.yaml are missing)"
            )));
        }
        Ok(bag)
    }

    fn find_in_folder(&mut self, folder: &Path) -> Result<(), SourceError> {
        let there = bag_files_in(folder)
            .map_err(|source| SourceError::Io { path: folder.to_owned(), source })?;
        let yaml = folder.join("metadata.yaml");
        if yaml.exists() {
            match meta::read(&yaml) {
                Ok(meta) => self.meta = Some(meta),
                Err(why) => {
                    self.found_lost.add("metadata_damaged");
                    self.notes.push(format!("metadata.yaml cannot be used: {why}"));
                }
            }
        } else {
            self.notes.push("no metadata.yaml: all bag files of the folder are read".to_owned());
        }
        let listed: Vec<String> =
            self.meta.iter().flat_map(|meta| meta.files.iter().take(MAX_FILES)).cloned().collect();
        for name in &listed {
            let relative = Path::new(name);
            if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
                self.found_lost.add("file_outside_bag");
                self.notes.push(format!("{name:?} in metadata.yaml leads out of the bag"));
                continue;
            }
            // Old versions name files relative to the folder above; compressed ones may be
            // listed without the ending that compression added.
            let base = relative.file_name().map(PathBuf::from).unwrap_or_default();
            let zstd = |path: &Path| PathBuf::from(format!("{}.zstd", path.display()));
            let unpacked = relative.with_extension("");
            let ways = [relative.to_owned(), base.clone(), zstd(relative), zstd(&base), unpacked];
            match ways.iter().map(|way| folder.join(way)).find(|path| path.is_file()) {
                Some(path) => self.parts.push(path),
                None => {
                    self.found_lost.add("file_missing");
                    self.notes.push(format!("{name:?} of metadata.yaml is missing"));
                }
            }
        }
        if self.parts.is_empty() {
            self.parts = there;
        }
        Ok(())
    }

    /// The error that nothing can be read, with the reason.
    pub fn nothing(&self, why: &str) -> SourceError {
        let because = self.why_not.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        SourceError::Nothing { path: self.path.clone(), why: format!("{why}{because}") }
    }

    /// All topics that metadata and files tell of.
    pub fn topics(&mut self) -> Vec<StoredTopic> {
        let mut topics: Vec<StoredTopic> = Vec::new();
        for topic in self.meta.iter().flat_map(|meta| &meta.topics) {
            topics.push(StoredTopic {
                name: topic.name.clone(),
                ros_type: topic.ros_type.clone(),
                serialization: topic.serialization.clone(),
                messages: Some(topic.messages),
            });
        }
        let asked = if topics.is_empty() { MAX_FILES_ASKED } else { 1 };
        let mut counted = true;
        for (i, path) in self.parts.clone().into_iter().take(asked).enumerate() {
            if i > 0 && is_packed(&path) {
                // Unpacking every part just for its topics is not worth it.
                counted = false;
                continue;
            }
            let Some(part) = self.open_part(&path) else { continue };
            for topic in part.storage.topics() {
                match topics.iter_mut().find(|known| known.name == topic.name) {
                    Some(known) if asked > 1 => {
                        known.messages =
                            known.messages.zip(topic.messages).map(|(a, b)| a.saturating_add(b));
                    }
                    Some(_) => {}
                    // Metadata that leaves a topic out does not know its count either.
                    None => topics.push(topic),
                }
            }
        }
        if asked > 1 && (!counted || self.parts.len() > asked) {
            topics.iter_mut().for_each(|topic| topic.messages = None);
        }
        topics
    }

    /// Length of the recording by bag time in seconds, where it is known.
    pub fn duration_s(&mut self) -> Option<f64> {
        let told = self.meta.as_ref().and_then(|meta| meta.duration_s);
        let open = self.open.as_ref().and_then(|part| part.storage.duration_s());
        told.or(if self.parts.len() == 1 { open } else { None })
    }

    /// Goes back to the start; from now on only messages of `topics` come out.
    pub fn want(&mut self, topics: &[String]) {
        self.wanted = topics.to_vec();
        self.waiting = self.parts.iter().cloned().collect();
        // The first part stays open: it may be an unpacked copy of many gigabytes.
        match &mut self.open {
            Some(part) if self.waiting.front() == Some(&part.path) => {
                part.storage.want(&self.wanted);
                self.waiting.pop_front();
            }
            _ => self.open = None,
        }
    }

    /// Loss that is known before any message is read, files that are missing for example.
    /// To be asked right after [`BagFiles::want`].
    pub fn lost_on_opening(&self) -> Tally {
        let mut lost = self.found_lost.clone();
        if let Some(part) = &self.open {
            lost.merge(&part.lost);
        }
        lost
    }

    /// The next wanted message of all files.
    pub fn next(&mut self, lost: &mut Tally) -> Option<Recorded> {
        loop {
            if let Some(part) = &mut self.open {
                if let Some(message) = part.storage.next(lost) {
                    return Some(message);
                }
                self.open = None;
            }
            let path = self.waiting.pop_front()?;
            match self.open_part(&path) {
                Some(_) => {
                    if let Some(part) = &mut self.open {
                        part.storage.want(&self.wanted);
                        lost.merge(&part.lost);
                    }
                }
                None => lost.add("file_unreadable"),
            }
        }
    }

    /// Opens the part at `path` unless it is the open one.
    fn open_part(&mut self, path: &Path) -> Option<&OpenPart> {
        if self.open.as_ref().is_none_or(|part| part.path != path) {
            self.open = None;
            match open_part(path) {
                Ok(part) => self.open = Some(part),
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "part of the bag cannot be read");
                    self.why_not = Some(why);
                }
            }
        }
        self.open.as_ref()
    }
}

fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut start)?;
    Ok(start)
}

fn is_packed(path: &Path) -> bool {
    start_of(path).is_ok_and(|start| start.starts_with(&ZSTD_MAGIC))
}

/// Opens one file by what is in it, by its name where that is damaged.
fn open_part(path: &Path) -> Result<OpenPart, String> {
    let mut lost = Tally::default();
    let mut copy = None;
    let mut start = start_of(path).map_err(|error| error.to_string())?;
    let mut inside = path.to_owned();
    let name = path.to_string_lossy();
    if start.starts_with(&ZSTD_MAGIC) {
        let unpacked = unpack::file(path).map_err(|error| error.to_string())?;
        if let Some(damage) = unpacked.damage {
            lost.add(damage);
        }
        inside = unpacked.file.path().to_owned();
        start = start_of(&inside).map_err(|error| error.to_string())?;
        copy = Some(unpacked.file);
    }
    if start.is_empty() {
        return Err("the file is empty".to_owned());
    }
    let storage: Box<dyn Storage> = if start.starts_with(b"SQLite format 3\0") {
        Box::new(Db3File::open(&inside)?)
    } else if start.starts_with(mcap::MAGIC) || name.contains(".mcap") {
        Box::new(McapFile::open(&inside).map_err(|error| error.to_string())?)
    } else if name.contains(".db3") {
        return Err("it does not start as a SQLite file does".to_owned());
    } else if start.starts_with(b"#ROSBAG") {
        return Err("ROS 1 bag: convert it with `rosbags-convert` (pip install rosbags)".to_owned());
    } else {
        return Err("it is neither MCAP nor SQLite nor zstd".to_owned());
    };
    Ok(OpenPart { path: path.to_owned(), storage, _copy: copy, lost })
}

//! From a SOURCE argument to a stream of frames.

use std::path::{Path, PathBuf};

use super::{
    FrameSource, SourceError, SourceOptions,
    bag::{BagSource, files},
    folder::{self, FolderSource},
    prefetch::Prefetch,
    room::{RoomSource, RoomSpec, RoomsSource, RoomsSpec},
};
use crate::frame::Extent;

/// What SOURCE can be, for error messages.
const FORMS: &str = "SOURCE is a rosbag2 folder (with metadata.yaml), a .mcap or .db3 file \
                     (also .zstd), a folder with rgb/ and depth/ (and associations.txt), or \
                     `room`, `room:seed=7,frames=300`, `rooms:seeds=1-80,frames=8`";

/// What `room:…` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomRequest {
    /// Seed of the room and of the way through it.
    pub seed: Option<u64>,
    /// How many frames.
    pub frames: Option<u64>,
}

/// The most frames that a room can be asked for.
pub const MAX_ROOM_FRAMES: u64 = 10_000_000;

/// What a SOURCE argument names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// A rendered room.
    Room(RoomRequest),
    /// Many rendered rooms.
    Rooms(RoomsSpec),
    /// A bag or a folder.
    Path(PathBuf),
}

/// Reads a SOURCE argument without touching the disk.
///
/// # Errors
/// [`SourceError::Spec`] with what is wrong in `room:…` and what would be right.
///
/// ```
/// use spatial_ssrl::source::open::{RoomRequest, Spec, parse};
/// let room = RoomRequest { seed: Some(7), frames: None };
/// assert_eq!(parse("room:seed=7")?, Spec::Room(room));
/// assert!(parse("room:sead=7").unwrap_err().to_string().contains("seed"));
/// // A folder of that name is `./room`.
/// assert_eq!(parse("./room")?, Spec::Path("./room".into()));
/// # Ok::<(), spatial_ssrl::source::SourceError>(())
/// ```
pub fn parse(spec: &str) -> Result<Spec, SourceError> {
    let wrong = |why: String| SourceError::Spec { spec: spec.to_owned(), why };
    if let Some(rooms) = spec.strip_prefix("rooms:") {
        return RoomsSpec::parse(rooms).map(Spec::Rooms).map_err(wrong);
    }
    let Some(rest) = spec.strip_prefix("room") else {
        if spec.is_empty() {
            return Err(wrong(format!("it is empty; {FORMS}")));
        }
        return Ok(Spec::Path(spec.into()));
    };
    let mut room = RoomRequest::default();
    if rest.is_empty() {
        return Ok(Spec::Room(room));
    }
    let Some(settings) = rest.strip_prefix(':') else { return Ok(Spec::Path(spec.into())) };
    for setting in settings.split(',') {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let number: u64 = value
            .parse()
            .map_err(|_| wrong(format!("{setting:?} is not seed=NUMBER or frames=NUMBER")))?;
        match key {
            "seed" => room.seed = Some(number),
            "frames" if (1..=MAX_ROOM_FRAMES).contains(&number) => room.frames = Some(number),
            "frames" => {
                return Err(wrong(format!("frames={number} is not 1 to {MAX_ROOM_FRAMES}")));
            }
            _ => return Err(wrong(format!("a room knows seed and frames, not {key:?}"))),
        }
    }
    Ok(Spec::Room(room))
}

/// Opens whatever `spec` names: a bag, a folder, `room` or `room:seed=7,frames=300`.
///
/// # Errors
/// What is wrong with the argument, or why nothing in it can be read.
pub fn open(spec: &str, options: &SourceOptions) -> Result<Box<dyn FrameSource>, SourceError> {
    match parse(spec)? {
        Spec::Room(room) => Ok(Box::new(room_source(room))),
        Spec::Rooms(rooms) => Ok(Box::new(RoomsSource::new(rooms))),
        Spec::Path(path) => {
            let source = open_path(spec, &path, options)?;
            let ahead = Prefetch::start(source)
                .map_err(|source| SourceError::Io { path: path.clone(), source })?;
            Ok(Box::new(ahead))
        }
    }
}

fn room_source(room: RoomRequest) -> RoomSource {
    let default = RoomSpec::default();
    let frames = room.frames.map_or(default.frames, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let seed = room.seed.unwrap_or(default.seed);
    RoomSource::new(RoomSpec { seed, frames, ..default })
}

/// How long a source is, where that is known without reading it: a rendered room's.
pub fn extent(spec: &str) -> Option<Extent> {
    let Ok(Spec::Room(room)) = parse(spec) else { return None };
    let source = room_source(room);
    let frames = source.spec().frames;
    let last_ns = source.frame_stamp_ns(frames.saturating_sub(1));
    Some(Extent { first_ns: source.frame_stamp_ns(0), last_ns, frames: frames.into() })
}

/// Opens a bag or a folder, without reading ahead.
///
/// # Errors
/// Why it cannot be read.
pub fn open_path(
    spec: &str,
    path: &Path,
    options: &SourceOptions,
) -> Result<Box<dyn FrameSource>, SourceError> {
    let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SourceError::Spec {
            spec: spec.to_owned(),
            why: format!("there is no such file or folder; {FORMS}"),
        },
        _ => SourceError::Io { path: path.to_owned(), source: error },
    })?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if meta.is_file() {
        // The file that stands for its folder.
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        return match (name, folder.unwrap_or(Path::new("."))) {
            ("metadata.yaml", folder) => Ok(Box::new(BagSource::open(folder, options)?)),
            ("associations.txt", folder) => Ok(Box::new(FolderSource::open(folder, options)?)),
            _ => Ok(Box::new(BagSource::open(path, options)?)),
        };
    }
    if files::is_bag_folder(path) {
        return Ok(Box::new(BagSource::open(path, options)?));
    }
    if folder::is_picture_folder(path) {
        return Ok(Box::new(FolderSource::open(path, options)?));
    }
    let inner: Vec<String> = std::fs::read_dir(path)
        .map_err(|source| SourceError::Io { path: path.to_owned(), source })?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .filter(|path| files::is_bag_folder(path) || folder::is_picture_folder(path))
        .take(5)
        .map(|path| path.display().to_string())
        .collect();
    let hint = match inner.is_empty() {
        true => FORMS.to_owned(),
        false => format!("did you mean {}?", inner.join(" or ")),
    };
    Err(SourceError::Nothing {
        path: path.to_owned(),
        why: format!("the folder is neither a bag nor a folder of pictures; {hint}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_would_be_right() {
        let error = |spec: &str| match open(spec, &SourceOptions::default()) {
            Ok(_) => panic!("{spec} was opened"),
            Err(error) => error.to_string(),
        };
        for spec in ["", "/no/such/bag"] {
            let error = error(spec);
            assert!(error.contains(".mcap") && error.contains("room:seed=7"), "{error}");
        }
        assert!(error("room:frames=0").contains("1 to"));
        assert!(error("room:seed=x").contains("seed=NUMBER"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("inner/rgb")).unwrap();
        assert!(error(dir.path().to_str().unwrap()).contains("inner"));
        let text = dir.path().join("notes.txt");
        std::fs::write(&text, "nothing to see").unwrap();
        assert!(error(text.to_str().unwrap()).contains("neither MCAP nor SQLite"));
    }
}

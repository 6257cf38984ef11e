//! zstd around whole bag files and around single messages, with bounds on what comes out.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The first bytes of a zstd frame. CDR starts with `00 00` or `00 01`, so a message that
/// starts like this is compressed, whatever the metadata says.
pub const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The largest message that is read, bytes: a picture of the most pixels allowed at four
/// bytes each, and as much again for padded rows.
pub const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// A message compressed by itself is given back as it was; others stay as they are.
///
/// # Errors
/// When it does not decompress, or to more than [`MAX_MESSAGE_BYTES`].
pub fn message(data: Vec<u8>) -> io::Result<Vec<u8>> {
    if !data.starts_with(&ZSTD_MAGIC) {
        return Ok(data);
    }
    let mut out = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data.as_slice())?;
    (&mut decoder).take(MAX_MESSAGE_BYTES as u64 + 1).read_to_end(&mut out)?;
    if out.len() > MAX_MESSAGE_BYTES {
        return Err(io::Error::other(format!(
            "a message of {} bytes decompresses to more than {MAX_MESSAGE_BYTES}",
            data.len()
        )));
    }
    Ok(out)
}

/// A decompressed copy of a file, deleted when dropped.
#[derive(Debug)]
pub struct TempFile {
    path: PathBuf,
}

impl TempFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn create() -> io::Result<(Self, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("spatial-ssrl-{}-{number}.bag", std::process::id());
            let path = std::env::temp_dir().join(name);
            // `create_new` never follows a link that somebody put there before.
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((TempFile { path }, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 10_000 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A zstd file decompressed into a temporary one.
#[derive(Debug)]
pub struct Unpacked {
    /// The copy.
    pub file: TempFile,
    /// Why the copy is not whole, where it is not.
    pub damage: Option<&'static str>,
}

/// Decompresses `path` beside nothing else in the system's temporary folder. Room for 64
/// times the file and at least 1 GiB is allowed: a bag of raw pictures shrinks to a tenth at
/// best, so more is a trap for the disk.
///
/// # Errors
/// When the file cannot be opened or the copy cannot be written.
pub fn file(path: &Path) -> io::Result<Unpacked> {
    let packed = File::open(path)?;
    let limit = packed.metadata()?.len().saturating_mul(64).max(1 << 30);
    let (temp, mut out) = TempFile::create()?;
    let mut decoder = zstd::stream::read::Decoder::new(packed)?;
    let mut buffer = vec![0; 1 << 20];
    let mut written = 0_u64;
    let damage = loop {
        let n = match decoder.read(&mut buffer) {
            Ok(0) => break None,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Some("cut_off"),
            Err(_) => break Some("zstd_damaged"),
        };
        written += n as u64;
        if written > limit {
            break Some("zstd_too_large");
        }
        out.write_all(buffer.get(..n).unwrap_or_default())?;
    };
    Ok(Unpacked { file: temp, damage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_bombs_are_refused() {
        let plain = vec![0, 1, 0, 0, 9, 9];
        assert_eq!(message(plain.clone()).unwrap(), plain);
        let packed = zstd::bulk::compress(&plain, 1).unwrap();
        assert_eq!(message(packed).unwrap(), plain);
        let bomb = zstd::stream::encode_all(io::repeat(0).take(200 << 20), 1).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(message(bomb).is_err());
    }

    #[test]
    fn a_cut_file_gives_what_is_there_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let plain: Vec<u8> = noise.take(3_000_000).collect();
        let packed = zstd::bulk::compress(&plain, 1).unwrap();
        let path = dir.path().join("x.db3.zstd");
        std::fs::write(&path, &packed).unwrap();
        let whole = file(&path).unwrap();
        assert_eq!(whole.damage, None);
        assert_eq!(std::fs::read(whole.file.path()).unwrap(), plain);
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let half = file(&path).unwrap();
        assert_eq!(half.damage, Some("cut_off"));
        let got = std::fs::read(half.file.path()).unwrap();
        assert!(got.len() > plain.len() / 4 && plain.starts_with(&got));
        let left = half.file.path().to_owned();
        drop(half);
        assert!(!left.exists());
    }
}

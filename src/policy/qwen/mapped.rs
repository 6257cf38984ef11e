//! Read-only memory maps of weight files, the one place of this crate that needs `unsafe`.

use std::{fs::File, io, path::Path};

use memmap2::Mmap;

/// Maps a file for reading. An empty file cannot be mapped and is an error.
///
/// Mapped pages are only ever copied out of while a model loads, and the map is dropped
/// after it. Whoever shortens the file within that time ends this process (SIGBUS), as with
/// every program that maps checkpoints; whoever overwrites it gets a mixture of old and new
/// weights, but never undefined behaviour beyond that: bytes are copied, not interpreted in
/// place.
///
/// # Errors
/// What the system says.
#[allow(unsafe_code)]
pub fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    let length = file.metadata()?;
    if !length.is_file() || length.len() == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file, or an empty one"));
    }
    // SAFETY: the map is read-only and private to this module's callers, who read it as plain
    // bytes by copying. That no one else changes the file meanwhile cannot be enforced on any
    // system; the consequences are the ones above.
    unsafe { Mmap::map(&file) }
}

//! MCAP records as they stand in a file: a byte of kind, eight of length, a body. Here is
//! what tells a record from noise, so that a reader finds its way again after damage.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

pub use mcap::records::op;

/// Bytes before a record's body.
pub const PREFIX: u64 = 9;

/// The fixed part of a message record's body.
pub const MESSAGE_HEADER: u64 = 22;

/// The fixed part of a chunk record's body, without the name of its compression.
const CHUNK_HEADER: u64 = 40;

/// How much of a record's body must be at hand to judge it.
const JUDGED: usize = 80;

/// Compression names are `zstd`, `lz4` or empty; a longer one is noise.
const MAX_COMPRESSION_NAME: u64 = 32;

/// No record of a real file is longer (1 TiB).
const MAX_RECORD: u64 = 1 << 40;

/// Bytes that are held at once.
pub const WINDOW: usize = 64 << 10;

/// Places that look like a record at first sight are looked at closely; a file made to have
/// millions of them is given up.
const MAX_CLOSE_LOOKS: u32 = 200_000;

/// Bytes that are read to see how the file goes on behind a record.
const AHEAD: usize = 4 << 10;

/// A file read through a small window, with a smaller one for looking ahead.
pub struct Window {
    file: File,
    len: u64,
    here: Held,
    ahead: Held,
}

/// Bytes of a file that are at hand.
#[derive(Default)]
struct Held {
    at: u64,
    bytes: Vec<u8>,
}

impl Held {
    /// The `n` bytes at `pos`, if they are all here.
    fn get(&self, pos: u64, n: usize) -> Option<&[u8]> {
        let from = usize::try_from(pos.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..from.checked_add(n)?)
    }

    /// Holds `size` bytes from `pos` on, fewer at the end of the file.
    fn fill(&mut self, file: &mut File, pos: u64, size: usize) -> io::Result<()> {
        self.bytes.resize(size, 0);
        file.seek(SeekFrom::Start(pos))?;
        let got = read_fully(file, &mut self.bytes)?;
        self.bytes.truncate(got);
        self.at = pos;
        Ok(())
    }
}

impl Window {
    /// A window on the whole of `file`.
    ///
    /// # Errors
    /// When its length cannot be found.
    pub fn new(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Window { file, len, here: Held::default(), ahead: Held::default() })
    }

    /// Length of the file in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    fn left(&self, pos: u64, most: usize) -> usize {
        usize::try_from(self.len.saturating_sub(pos)).unwrap_or(most).min(most)
    }

    /// Up to `n` bytes at `pos`; fewer at the end of the file or beyond the window's size.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn bytes(&mut self, pos: u64, n: usize) -> io::Result<&[u8]> {
        let n = self.left(pos, n.min(WINDOW));
        if self.here.get(pos, n).is_none() {
            let size = self.left(pos, WINDOW);
            self.here.fill(&mut self.file, pos, size)?;
        }
        Ok(self.here.get(pos, n.min(self.here.bytes.len())).unwrap_or_default())
    }

    /// As [`Window::bytes`] for a few bytes, without moving the window.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn peek(&mut self, pos: u64, n: usize) -> io::Result<&[u8]> {
        let n = self.left(pos, n.min(AHEAD));
        if self.here.get(pos, n).is_some() {
            return Ok(self.here.get(pos, n).unwrap_or_default());
        }
        if self.ahead.get(pos, n).is_none() {
            let size = self.left(pos, AHEAD);
            self.ahead.fill(&mut self.file, pos, size)?;
        }
        Ok(self.ahead.get(pos, n.min(self.ahead.bytes.len())).unwrap_or_default())
    }

    /// Fills `out` from `pos` as far as the file goes; gives the number of bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&mut self, pos: u64, out: &mut [u8]) -> io::Result<usize> {
        if out.len() <= WINDOW / 4 {
            let bytes = self.bytes(pos, out.len())?;
            out[..bytes.len()].copy_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.file.seek(SeekFrom::Start(pos))?;
        read_fully(&mut self.file, out)
    }
}

fn read_fully(file: &mut File, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match file.read(&mut out[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// A little-endian number at `at`, if the bytes reach that far.
pub fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: &[u8; N] = bytes.get(at..)?.first_chunk()?;
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(field);
    Some(u64::from_le_bytes(wide))
}

/// A string with a 32-bit length at `at`, and where it ends.
pub fn string(bytes: &[u8], at: usize) -> Option<(&str, usize)> {
    let len = number::<4>(bytes, at)? as usize;
    let start = at + 4;
    let end = start.checked_add(len)?;
    Some((std::str::from_utf8(bytes.get(start..end)?).ok()?, end))
}

/// Kind and place of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Where it starts.
    pub at: u64,
    /// Its kind.
    pub op: u8,
    /// Where its body ends, as its length says.
    pub end: u64,
}

impl Place {
    /// Where its body starts.
    pub fn body(&self) -> u64 {
        self.at + PREFIX
    }
}

/// The header of a chunk.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// First and last log time.
    pub times: (u64, u64),
    /// Bytes of its records once decompressed.
    pub unpacked: u64,
    /// CRC-32 of those, 0 for none.
    pub crc: u32,
    /// `zstd`, `lz4` or empty.
    pub compression: String,
    /// Bytes of its records as stored.
    pub packed: u64,
    /// Where its records start.
    pub records: u64,
}

/// Reads the chunk header of the record at `place`.
pub fn chunk(bytes: &[u8], place: Place) -> Option<Chunk> {
    let (compression, end) = string(bytes, 28)?;
    Some(Chunk {
        times: (number::<8>(bytes, 0)?, number::<8>(bytes, 8)?),
        unpacked: number::<8>(bytes, 16)?,
        crc: number::<4>(bytes, 24)? as u32,
        compression: compression.to_owned(),
        packed: number::<8>(bytes, end)?,
        records: place.body() + end as u64 + 8,
    })
}

/// What stands at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found {
    /// A record that lies within the file.
    Record(Place),
    /// What would be a record if the file did not end before it does.
    Beyond(Place),
    /// No record.
    Noise,
}

/// Looks at the bytes at `at` (as many as there are, up to a chunk header's). `known` tells
/// whether a channel of that number was declared.
pub fn look(bytes: &[u8], at: u64, file_len: u64, known: &dyn Fn(u16) -> bool) -> Found {
    let (Some(&op), Some(len)) = (bytes.first(), number::<8>(bytes, 1)) else {
        return Found::Noise;
    };
    if op == 0 || len > MAX_RECORD {
        return Found::Noise;
    }
    let body = &bytes[PREFIX as usize..];
    let sound = match op {
        op::HEADER => len >= 8,
        op::FOOTER => len == 20,
        op::SCHEMA => len >= 14,
        op::CHANNEL => len >= 16,
        op::MESSAGE => {
            len >= MESSAGE_HEADER && number::<2>(body, 0).is_none_or(|id| known(id as u16))
        }
        op::CHUNK => {
            len >= CHUNK_HEADER
                && number::<4>(body, 28).is_none_or(|name| name <= MAX_COMPRESSION_NAME)
        }
        op::MESSAGE_INDEX => {
            len >= 6 && number::<4>(body, 2).is_none_or(|entries| entries == len - 6)
        }
        op::DATA_END => len == 4,
        op::STATISTICS => len >= 46,
        op::SUMMARY_OFFSET => len == 17,
        _ => true,
    };
    let place = Place { at, op, end: at + PREFIX + len };
    match sound {
        false => Found::Noise,
        true if place.end > file_len => Found::Beyond(place),
        true => Found::Record(place),
    }
}

/// Kinds whose bodies can be told from noise.
const TELLING: [u8; 7] =
    [op::SCHEMA, op::CHANNEL, op::MESSAGE, op::CHUNK, op::MESSAGE_INDEX, op::DATA_END, op::FOOTER];

/// Looks for records in a damaged stretch of a file.
pub struct Searcher {
    looks: u32,
}

impl Default for Searcher {
    fn default() -> Self {
        Searcher { looks: MAX_CLOSE_LOOKS }
    }
}

impl Searcher {
    /// Whether it gave up because too many places looked like records.
    pub fn gave_up(&self) -> bool {
        self.looks == 0
    }

    /// Whether the file goes on at `at` with a record, or ends there as a file may.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn goes_on(window: &mut Window, at: u64, known: &dyn Fn(u16) -> bool) -> io::Result<bool> {
        let len = window.len();
        if at == len {
            return Ok(true);
        }
        let bytes = window.peek(at, JUDGED)?;
        // Only a cut leaves less than a prefix.
        let end = bytes.len() < PREFIX as usize;
        Ok(end
            || match look(bytes, at, len, known) {
                Found::Record(place) | Found::Beyond(place) => {
                    place.op <= op::DATA_END || place.op >= 0x80
                }
                Found::Noise => false,
            })
    }

    /// The first place in `from..limit` where a record surely stands: it is sound and
    /// followed by another one, or by the end of the file.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn find(
        &mut self,
        window: &mut Window,
        from: u64,
        limit: u64,
        known: &dyn Fn(u16) -> bool,
    ) -> io::Result<Option<u64>> {
        let len = window.len();
        let mut from = from;
        while from < limit.min(len) {
            let bytes = window.bytes(from, WINDOW)?;
            if bytes.len() < PREFIX as usize {
                return Ok(None);
            }
            let last = bytes.len() - (PREFIX as usize - 1);
            let hit = (0..last).find_map(|i| {
                let at = from + i as u64;
                let bytes = &bytes[i..bytes.len().min(i + JUDGED)];
                // The cheapest test first: it fails on all but one in millions of places.
                if !bytes[6..9].iter().all(|b| *b == 0) || !TELLING.contains(&bytes[0]) {
                    return None;
                }
                match look(bytes, at, len, known) {
                    // A few bytes behind it say too little.
                    Found::Record(place)
                        if consistent(bytes, place)
                            && (place.end == len || len - place.end >= PREFIX) =>
                    {
                        Some(place)
                    }
                    _ => None,
                }
            });
            let Some(place) = hit else {
                from += last as u64;
                continue;
            };
            if place.at >= limit {
                return Ok(None);
            }
            if self.looks == 0 {
                return Ok(None);
            }
            self.looks -= 1;
            if Self::goes_on(window, place.end, known)? {
                return Ok(Some(place.at));
            }
            from = place.at + 1;
        }
        Ok(None)
    }
}

/// A chunk tells its length twice.
fn consistent(bytes: &[u8], place: Place) -> bool {
    if place.op != op::CHUNK {
        return true;
    }
    let body = &bytes[PREFIX as usize..];
    chunk(body, place)
        .is_some_and(|chunk| chunk.records.checked_add(chunk.packed) == Some(place.end))
}

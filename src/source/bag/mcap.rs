//! MCAP files, read from start to end without trusting any index, so that a file which was
//! cut off or damaged gives all that is still readable. Memory: one message, one window and
//! what a decompressor needs, however large the file and its chunks are.

use std::{fs::File, io, path::Path};

use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use super::{
    channels::Channels,
    storage::{Recorded, Storage, StoredTopic},
    tlv::{self, Chunk, Found, PREFIX, Place, Searcher, Window, number, op},
    unpack::MAX_MESSAGE_BYTES,
};
use crate::tally::Tally;

/// A file without a summary is searched for topics this far, bytes.
const TOPIC_SEARCH_BYTES: u64 = 256 << 20;

/// The most records that a summary may have before it is taken for damaged.
const MAX_SUMMARY_RECORDS: usize = 1_000_000;

/// The largest schema or channel record that is read, bytes.
const MAX_DEFINITION_BYTES: u64 = 4 << 20;

/// Compressed bytes that are handed to a decompressor at once.
const FEED: usize = 256 << 10;

/// A compressed chunk that is being read.
struct Packed {
    reader: LinearReader,
    /// Next byte of the file to feed, and the end of the chunk.
    feed: std::ops::Range<u64>,
}

/// The checksum of an uncompressed chunk that is being read.
struct Checksum {
    hasher: crc32fast::Hasher,
    saved: u32,
    end: u64,
}

/// What one step of reading gave.
enum Step {
    Message(Recorded),
    Nothing,
    End,
}

/// One MCAP file.
pub struct McapFile {
    window: Window,
    pos: u64,
    channels: Channels,
    packed: Option<Packed>,
    checksum: Option<Checksum>,
    search: Searcher,
    footer_seen: bool,
    ended: bool,
}

impl McapFile {
    /// Opens a file and finds its topics: in its summary, or by reading on where it has none.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = McapFile {
            window: Window::new(File::open(path)?)?,
            pos: 0,
            channels: Channels::default(),
            packed: None,
            checksum: None,
            search: Searcher::default(),
            footer_seen: false,
            ended: false,
        };
        file.read_summary()?;
        if file.channels.is_empty() {
            let mut unused = Tally::default();
            file.want(&[]);
            while file.pos < TOPIC_SEARCH_BYTES && !matches!(file.step(&mut unused)?, Step::End) {}
        }
        file.want(&[]);
        Ok(file)
    }

    fn read_summary(&mut self) -> io::Result<()> {
        let len = self.window.file_len();
        let footer_len = PREFIX + 20 + mcap::MAGIC.len() as u64;
        let Some(at) = len.checked_sub(footer_len) else { return Ok(()) };
        let bytes = self.window.bytes(at, footer_len as usize)?;
        let sound = bytes.first() == Some(&op::FOOTER) && bytes.ends_with(mcap::MAGIC);
        let mut pos = match number::<8>(bytes, PREFIX as usize) {
            Some(start) if sound && start > 0 => start,
            _ => return Ok(()),
        };
        for _ in 0..MAX_SUMMARY_RECORDS {
            if pos >= at {
                return Ok(());
            }
            let bytes = self.window.bytes(pos, 64)?;
            let Found::Record(place) = tlv::look(bytes, pos, at, &|_| true) else { return Ok(()) };
            self.define(place)?;
            pos = place.end;
        }
        Ok(())
    }

    /// Takes in a record that describes others.
    fn define(&mut self, place: Place) -> io::Result<()> {
        let is_definition = matches!(place.op, op::SCHEMA | op::CHANNEL | op::STATISTICS);
        if !is_definition || place.end - place.body() > MAX_DEFINITION_BYTES {
            return Ok(());
        }
        let mut body = vec![0; (place.end - place.body()) as usize];
        let got = self.window.read(place.body(), &mut body)?;
        body.truncate(got);
        self.channels.define(place.op, &body);
        Ok(())
    }

    /// Goes one record on.
    fn step(&mut self, lost: &mut Tally) -> io::Result<Step> {
        if self.packed.is_some() {
            return self.step_packed(lost);
        }
        if let Some(checksum) = self.checksum.take_if(|checksum| self.pos >= checksum.end) {
            // A damaged record may have led past the end: then nothing can be said.
            if self.pos == checksum.end && checksum.hasher.finalize() != checksum.saved {
                lost.add("chunk_crc");
            }
        }
        let at = self.pos;
        let len = self.window.file_len();
        if at == 0 && self.window.bytes(0, 8)? == mcap::MAGIC {
            self.pos = 8;
            return Ok(Step::Nothing);
        }
        if at >= len || len - at < PREFIX {
            let whole = self.footer_seen && self.window.bytes(at, 8)? == mcap::MAGIC;
            return Ok(self.end(lost, (!whole).then_some("cut_off")));
        }
        let channels = &self.channels;
        let known = |id: u16| channels.may_be(id);
        let found = tlv::look(self.window.bytes(at, 64)?, at, len, &|_| true);
        match found {
            Found::Record(place) if place.op == op::CHUNK => self.enter_chunk(place, lost),
            Found::Beyond(place) if place.op == op::CHUNK => self.enter_chunk(place, lost),
            Found::Record(place) if place.op > op::DATA_END => {
                // A later version's record, an application's own, or a damaged kind: then
                // sound records may stand inside.
                let from = place.body() + 1;
                let inner = self.search.find(&mut self.window, from, place.end, &known)?;
                if inner.is_some() || place.op < 0x80 {
                    lost.add("unknown_record");
                }
                self.checksum = None;
                self.pos = inner.unwrap_or(place.end);
                Ok(Step::Nothing)
            }
            Found::Record(mut place) => {
                if !Searcher::goes_on(&mut self.window, place.end, &known)? {
                    // Either this length or the next record is damaged. A record inside the
                    // supposed body tells: the length is too large.
                    let from = place.body() + 1;
                    let inner = self.search.find(&mut self.window, from, place.end, &known)?;
                    if let Some(end) = inner {
                        lost.add("record_damaged");
                        place.end = end;
                    }
                }
                self.take(place, lost)
            }
            Found::Beyond(mut place) => {
                match self.search.find(&mut self.window, place.body() + 1, len, &known)? {
                    Some(end) => {
                        lost.add("record_damaged");
                        place.end = end;
                        self.take(place, lost)
                    }
                    None => Ok(self.end(lost, Some("cut_off"))),
                }
            }
            Found::Noise => {
                lost.add(if at == 0 { "bad_magic" } else { "record_damaged" });
                match self.search.find(&mut self.window, at + 1, len, &known)? {
                    Some(next) => {
                        self.checksum = None;
                        self.pos = next;
                        Ok(Step::Nothing)
                    }
                    None => Ok(self.end(lost, Some("cut_off"))),
                }
            }
        }
    }

    /// Takes the record at `place`, which lies in the file, and moves on behind it.
    fn take(&mut self, place: Place, lost: &mut Tally) -> io::Result<Step> {
        self.pos = place.end;
        match place.op {
            op::MESSAGE => return self.take_message(place, lost),
            op::FOOTER => self.footer_seen = true,
            op::SCHEMA | op::CHANNEL => self.define(place)?,
            _ => {}
        }
        self.hash(place)?;
        Ok(Step::Nothing)
    }

    /// Adds a record to the chunk's checksum. A large one that nobody wants is not worth
    /// reading for it: then the chunk goes unchecked.
    fn hash(&mut self, place: Place) -> io::Result<()> {
        if place.end - place.at > tlv::WINDOW as u64 {
            self.checksum = None;
        }
        if let Some(checksum) = &mut self.checksum {
            checksum.hasher.update(self.window.bytes(place.at, (place.end - place.at) as usize)?);
        }
        Ok(())
    }

    fn take_message(&mut self, place: Place, lost: &mut Tally) -> io::Result<Step> {
        let fixed = (PREFIX + tlv::MESSAGE_HEADER) as usize;
        let mut head = [0; (PREFIX + tlv::MESSAGE_HEADER) as usize];
        let got = self.window.read(place.at, &mut head)?;
        let size = (place.end - place.at).saturating_sub(fixed as u64);
        if got < fixed || place.end - place.at < fixed as u64 {
            lost.add("record_damaged");
            return Ok(Step::Nothing);
        }
        let Some((topic, log_ns)) = self.channels.route(&head[PREFIX as usize..], size, lost)
        else {
            self.hash(place)?;
            return Ok(Step::Nothing);
        };
        // The record lies within the file, so this much is really there.
        let mut data = vec![0; size as usize];
        let got = self.window.read(place.at + fixed as u64, &mut data)?;
        data.truncate(got);
        if let Some(checksum) = &mut self.checksum {
            checksum.hasher.update(&head);
            checksum.hasher.update(&data);
        }
        Ok(Step::Message(Recorded { topic, log_ns, data }))
    }

    /// Enters the chunk at `place`, whose stated end may be wrong or beyond the file.
    fn enter_chunk(&mut self, place: Place, lost: &mut Tally) -> io::Result<Step> {
        let len = self.window.file_len();
        let channels = &self.channels;
        let known = |id: u16| channels.may_be(id);
        let chunk = tlv::chunk(self.window.bytes(place.body(), 80)?, place);
        let Some(chunk) = chunk.filter(|chunk| chunk.records <= len) else {
            lost.add("chunk_damaged");
            let next = self.search.find(&mut self.window, place.at + 1, len, &known)?;
            return Ok(match next {
                Some(next) => {
                    self.pos = next;
                    Step::Nothing
                }
                None => self.end(lost, Some("cut_off")),
            });
        };
        let magic = self.window.bytes(chunk.records, 4)?;
        let packing = match chunk.compression.as_str() {
            "" => "",
            "zstd" => "zstd",
            "lz4" => "lz4",
            _ if magic == super::unpack::ZSTD_MAGIC => "zstd",
            _ if magic == [0x04, 0x22, 0x4D, 0x18] => "lz4",
            _ => "unknown",
        };
        if packing.is_empty() {
            // Its records stand in the file like any others.
            self.pos = chunk.records;
            self.checksum = (chunk.crc != 0).then(|| Checksum {
                hasher: crc32fast::Hasher::new(),
                saved: chunk.crc,
                end: chunk.records.saturating_add(chunk.packed),
            });
            return Ok(Step::Nothing);
        }
        // A chunk tells its length twice; where the two differ, what follows decides.
        let mut end = None;
        for stated in [place.end, chunk.records.saturating_add(chunk.packed)] {
            if end.is_none()
                && (chunk.records..=len).contains(&stated)
                && Searcher::goes_on(&mut self.window, stated, &known)?
            {
                end = Some(stated);
            }
        }
        let end = match end {
            Some(end) => end,
            None => self.search.find(&mut self.window, chunk.records, len, &known)?.unwrap_or(len),
        };
        self.pos = end;
        if packing == "unknown" {
            lost.add("chunk_compression_unknown");
            return Ok(Step::Nothing);
        }
        self.packed = Some(Packed::new(&chunk, packing, end));
        Ok(Step::Nothing)
    }

    fn step_packed(&mut self, lost: &mut Tally) -> io::Result<Step> {
        let Some(mut packed) = self.packed.take() else { return Ok(Step::Nothing) };
        let step = match packed.reader.next_event() {
            None => return Ok(Step::Nothing),
            Some(Err(mcap::McapError::BadChunkCrc { .. })) => {
                lost.add("chunk_crc");
                return Ok(Step::Nothing);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, end = packed.feed.end, "damaged chunk");
                lost.add("chunk_damaged");
                return Ok(Step::Nothing);
            }
            Some(Ok(LinearReadEvent::ReadRequest(n))) => {
                let left = usize::try_from(packed.feed.end - packed.feed.start).unwrap_or(FEED);
                let n = n.clamp(1, FEED).min(left);
                let got = self.window.read(packed.feed.start, packed.reader.insert(n))?;
                packed.reader.notify_read(got);
                packed.feed.start += got as u64;
                Step::Nothing
            }
            Some(Ok(LinearReadEvent::Record { opcode: op::MESSAGE, data })) => {
                let fixed = tlv::MESSAGE_HEADER as usize;
                match data.split_at_checked(fixed) {
                    None => {
                        lost.add("record_damaged");
                        Step::Nothing
                    }
                    Some((head, body)) => {
                        match self.channels.route(head, body.len() as u64, lost) {
                            None => Step::Nothing,
                            Some((topic, log_ns)) => {
                                Step::Message(Recorded { topic, log_ns, data: body.to_vec() })
                            }
                        }
                    }
                }
            }
            Some(Ok(LinearReadEvent::Record { opcode, data })) => {
                if opcode != op::STATISTICS {
                    self.channels.define(opcode, data);
                }
                Step::Nothing
            }
        };
        self.packed = Some(packed);
        Ok(step)
    }

    fn end(&mut self, lost: &mut Tally, reason: Option<&str>) -> Step {
        if let Some(reason) = reason {
            lost.add(reason);
        }
        if self.search.gave_up() {
            lost.add("search_given_up");
        }
        lost.add_n("messages_missing", self.channels.missing());
        self.ended = true;
        Step::End
    }
}

impl Packed {
    /// A reader for the records of `chunk`, which end at `end` in the file. It gets a header
    /// whose lengths agree, whatever stands in the file.
    fn new(chunk: &Chunk, packing: &str, end: u64) -> Self {
        let packed = end - chunk.records;
        let mut header = Vec::with_capacity(64);
        header.extend(chunk.times.0.to_le_bytes());
        header.extend(chunk.times.1.to_le_bytes());
        header.extend(chunk.unpacked.to_le_bytes());
        header.extend(chunk.crc.to_le_bytes());
        header.extend((packing.len() as u32).to_le_bytes());
        header.extend(packing.as_bytes());
        header.extend(packed.to_le_bytes());
        let mut record = vec![op::CHUNK];
        record.extend((header.len() as u64 + packed).to_le_bytes());
        record.extend(header);
        let limit = usize::try_from(chunk.unpacked).unwrap_or(MAX_MESSAGE_BYTES);
        let mut reader = LinearReader::new_with_options(
            LinearReaderOptions::default()
                .with_skip_start_magic(true)
                .with_skip_end_magic(true)
                .with_validate_chunk_crcs(true)
                // Also the most that is allocated for one record before its bytes are there.
                .with_record_length_limit(limit.clamp(FEED, MAX_MESSAGE_BYTES + 64)),
        );
        reader.insert(record.len()).copy_from_slice(&record);
        reader.notify_read(record.len());
        Packed { reader, feed: chunk.records..end }
    }
}

impl Storage for McapFile {
    fn topics(&self) -> Vec<StoredTopic> {
        self.channels.topics()
    }

    fn duration_s(&self) -> Option<f64> {
        self.channels.duration_s()
    }

    fn want(&mut self, topics: &[String]) {
        self.channels.want(topics);
        self.pos = 0;
        self.packed = None;
        self.checksum = None;
        self.search = Searcher::default();
        self.footer_seen = false;
        self.ended = false;
    }

    fn next(&mut self, lost: &mut Tally) -> Option<Recorded> {
        while !self.ended {
            match self.step(lost) {
                Ok(Step::Message(message)) => return Some(message),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => return None,
                Err(error) => {
                    tracing::warn!(%error, "reading the bag failed");
                    self.end(lost, Some("read_error"));
                }
            }
        }
        None
    }
}

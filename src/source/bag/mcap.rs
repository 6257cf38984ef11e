//! MCAP files, read from start to end without trusting any index, so that a file which was
//! cut off or damaged gives all that is still readable. Memory: one message, one window and
//! what a decompressor needs, however large the file and its chunks are.

use std::{collections::HashMap, fs::File, io, path::Path};

use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use super::{
    storage::{Recorded, Storage, StoredTopic},
    tlv::{self, Chunk, Found, PREFIX, Place, Searcher, Window, number, op, string},
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

#[derive(Clone)]
struct Channel {
    topic: String,
    schema: u16,
    encoding: String,
    /// Index among the wanted topics.
    wanted: Option<usize>,
    /// Messages read, wanted or not.
    seen: u64,
}

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
    schemas: HashMap<u16, String>,
    channels: HashMap<u16, Channel>,
    wanted: Vec<String>,
    packed: Option<Packed>,
    checksum: Option<Checksum>,
    search: Searcher,
    /// Messages by channel as the summary has them.
    promised: HashMap<u16, u64>,
    times_ns: Option<(u64, u64)>,
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
            schemas: HashMap::new(),
            channels: HashMap::new(),
            wanted: Vec::new(),
            packed: None,
            checksum: None,
            search: Searcher::default(),
            promised: HashMap::new(),
            times_ns: None,
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
        let len = self.window.len();
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
        self.define_from(place.op, &body);
        Ok(())
    }

    /// The first definition of a number holds: a later one that differs is damage.
    fn define_from(&mut self, opcode: u8, body: &[u8]) -> Option<()> {
        let id = number::<2>(body, 0)? as u16;
        match opcode {
            op::SCHEMA => {
                let (name, _) = string(body, 2)?;
                self.schemas.entry(id).or_insert_with(|| name.to_owned());
            }
            op::CHANNEL => {
                let schema = number::<2>(body, 2)? as u16;
                let (topic, at) = string(body, 4)?;
                let (encoding, _) = string(body, at)?;
                let wanted = self.wanted.iter().position(|name| name == topic);
                self.channels.entry(id).or_insert_with(|| Channel {
                    topic: topic.to_owned(),
                    schema,
                    encoding: encoding.to_owned(),
                    wanted,
                    seen: 0,
                });
            }
            op::STATISTICS => {
                let total = number::<8>(body, 0)?;
                let times = (number::<8>(body, 26)?, number::<8>(body, 34)?);
                let entries = body.get(46..46 + number::<4>(body, 42)? as usize)?;
                let promised: HashMap<u16, u64> = entries
                    .chunks_exact(10)
                    .filter_map(|e| Some((number::<2>(e, 0)? as u16, number::<8>(e, 2)?)))
                    .collect();
                // Counts that do not add up are damaged themselves.
                let sum = promised.values().try_fold(0_u64, |sum, n| sum.checked_add(*n));
                if sum == Some(total) {
                    self.promised = promised;
                    self.times_ns = Some(times);
                }
            }
            _ => {}
        }
        Some(())
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
        let len = self.window.len();
        if at == 0 && self.window.bytes(0, 8)? == mcap::MAGIC {
            self.pos = 8;
            return Ok(Step::Nothing);
        }
        if at >= len || len - at < PREFIX {
            let whole = self.footer_seen && self.window.bytes(at, 8)? == mcap::MAGIC;
            return Ok(self.end(lost, (!whole).then_some("cut_off")));
        }
        let channels = &self.channels;
        let known = |id: u16| channels.is_empty() || channels.contains_key(&id);
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
        let Some((topic, log_ns)) = self.route(&head[PREFIX as usize..], size, lost) else {
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

    /// Which wanted topic the message is of, and its log time, from its fixed part.
    fn route(&mut self, head: &[u8], size: u64, lost: &mut Tally) -> Option<(usize, i64)> {
        let id = number::<2>(head, 0)? as u16;
        let log_ns = i64::try_from(number::<8>(head, 6)?).unwrap_or(i64::MAX);
        let Some(channel) = self.channels.get_mut(&id) else {
            lost.add("unknown_channel");
            return None;
        };
        channel.seen += 1;
        let topic = channel.wanted?;
        if size > MAX_MESSAGE_BYTES as u64 {
            lost.add("message_too_large");
            return None;
        }
        Some((topic, log_ns))
    }

    /// Enters the chunk at `place`, whose stated end may be wrong or beyond the file.
    fn enter_chunk(&mut self, place: Place, lost: &mut Tally) -> io::Result<Step> {
        let len = self.window.len();
        let channels = &self.channels;
        let known = |id: u16| channels.is_empty() || channels.contains_key(&id);
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
                    Some((head, body)) => match self.route(head, body.len() as u64, lost) {
                        None => Step::Nothing,
                        Some((topic, log_ns)) => {
                            Step::Message(Recorded { topic, log_ns, data: body.to_vec() })
                        }
                    },
                }
            }
            Some(Ok(LinearReadEvent::Record { opcode, data })) => {
                if opcode != op::STATISTICS {
                    self.define_from(opcode, data);
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
        for (id, promised) in &self.promised {
            let channel = self.channels.get(id).filter(|channel| channel.wanted.is_some());
            if let Some(channel) = channel {
                lost.add_n("messages_missing", promised.saturating_sub(channel.seen));
            }
        }
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
        let mut topics: Vec<StoredTopic> = Vec::new();
        let mut ids: Vec<&u16> = self.channels.keys().collect();
        ids.sort();
        for (id, channel) in ids.into_iter().filter_map(|id| self.channels.get_key_value(id)) {
            let messages = self.promised.get(id).copied();
            match topics.iter_mut().find(|topic| topic.name == channel.topic) {
                // Two publishers of one topic have a channel each.
                Some(topic) => {
                    topic.messages = topic.messages.zip(messages).map(|(a, b)| a.saturating_add(b));
                }
                None => topics.push(StoredTopic {
                    name: channel.topic.clone(),
                    ros_type: self.schemas.get(&channel.schema).cloned().unwrap_or_default(),
                    serialization: channel.encoding.clone(),
                    messages: (!self.promised.is_empty()).then(|| messages.unwrap_or(0)),
                }),
            }
        }
        topics
    }

    fn duration_s(&self) -> Option<f64> {
        let (start, end) = self.times_ns?;
        Some(end.checked_sub(start)? as f64 * 1e-9).filter(|s| *s > 0.0)
    }

    fn want(&mut self, topics: &[String]) {
        self.wanted = topics.to_vec();
        for channel in self.channels.values_mut() {
            channel.wanted = topics.iter().position(|name| *name == channel.topic);
            channel.seen = 0;
        }
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

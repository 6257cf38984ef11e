//! One MCAP file of a recording.
//!
//! The writer of the `mcap` crate writes into memory; what it made of a frame goes to the disk
//! in one piece. So it never meets a disk that is full, and a file never holds half a frame
//! unless the machine stops.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use mcap::{
    Compression, WriteOptions,
    records::MessageHeader,
    sans_io::{
        LinearReaderOptions,
        summary_reader::{SummaryReadEvent, SummaryReader, SummaryReaderOptions},
    },
};

use super::Sample;
use crate::node::msg::definitions;

/// The longest record that is read back.
const MAX_RECORD_BYTES: usize = 256 << 20;

/// What lies in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contents {
    /// Messages by topic, with the topic's type.
    pub topics: BTreeMap<String, (String, u64)>,
    /// Log time of the first message and the last, nanoseconds.
    pub span_ns: Option<(u64, u64)>,
    /// Size of the file.
    pub bytes: u64,
}

impl Contents {
    pub fn messages(&self) -> u64 {
        self.topics.values().map(|(_, count)| count).sum()
    }

    fn add(&mut self, topic: &str, type_name: &str, log_ns: u64) {
        let (_, count) =
            self.topics.entry(topic.to_owned()).or_insert_with(|| (type_name.to_owned(), 0));
        *count += 1;
        let (first, last) = self.span_ns.unwrap_or((log_ns, log_ns));
        self.span_ns = Some((first.min(log_ns), last.max(log_ns)));
    }
}

/// Bytes on their way to the disk.
#[derive(Clone, Debug, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::Error::other("a writer panicked"))?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn take(&self) -> Vec<u8> {
        self.0.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }
}

type McapWriter = mcap::Writer<mcap::write::NoSeek<Sink>>;

/// A file that is being written.
pub(super) struct RingFile {
    file: File,
    sink: Sink,
    writer: McapWriter,
    /// Number and next sequence number, by topic.
    channels: BTreeMap<String, (u16, u32)>,
    frames: u64,
    /// A write failed: what the writer knows of the file is no longer true.
    broken: bool,
    pub contents: Contents,
}

impl std::fmt::Debug for RingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingFile").field("contents", &self.contents).finish_non_exhaustive()
    }
}

fn mcap_writer(sink: &Sink) -> io::Result<McapWriter> {
    let options = WriteOptions::new()
        .profile("ros2")
        .library(concat!("spatial-ssrl ", env!("CARGO_PKG_VERSION")))
        // A chunk ends where a frame ends.
        .chunk_size(None)
        .compression(Some(Compression::Zstd))
        .compression_level(1)
        // In this thread: learning and driving need the others.
        .compression_threads(0)
        .disable_seeking(true);
    options.create(mcap::write::NoSeek::new(sink.clone())).map_err(io::Error::other)
}

impl RingFile {
    /// Makes a file that does not exist yet.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path)?;
        let sink = Sink::default();
        let mut file = RingFile {
            file,
            writer: mcap_writer(&sink)?,
            sink,
            channels: BTreeMap::new(),
            frames: 0,
            broken: false,
            contents: Contents::default(),
        };
        file.drain()?;
        Ok(file)
    }

    /// An upper bound of what [`RingFile::append`] and [`RingFile::finish`] will write.
    pub fn bound(&self, samples: &[Sample]) -> u64 {
        let payload: usize = samples.iter().map(|sample| sample.len() + 512).sum();
        let definitions = 8 << 10;
        // What zstd adds to what it cannot compress, and the index of every frame.
        let payload = payload as u64;
        payload + payload / 128 + definitions + 256 * (self.frames + 1)
    }

    /// Whether anything was written.
    pub fn is_fresh(&self) -> bool {
        self.frames == 0
    }

    /// Writes the messages of one frame as one chunk.
    pub fn append(&mut self, log_ns: u64, samples: &[Sample]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write to this file failed"));
        }
        for sample in samples {
            if !self.channels.contains_key(&sample.topic) {
                let id = self.add_channel(sample)?;
                self.channels.insert(sample.topic.clone(), (id, 0));
            }
            let Some((channel_id, sequence)) = self.channels.get_mut(&sample.topic) else {
                continue;
            };
            let header = MessageHeader {
                channel_id: *channel_id,
                sequence: *sequence,
                log_time: log_ns,
                publish_time: log_ns,
            };
            *sequence = sequence.wrapping_add(1);
            let written = self.writer.write_to_known_channel(&header, &sample.cdr);
            written.map_err(io::Error::other)?;
        }
        self.writer.flush().map_err(io::Error::other)?;
        self.drain()?;
        self.frames += 1;
        for sample in samples {
            self.contents.add(&sample.topic, sample.definition, log_ns);
        }
        Ok(())
    }

    fn add_channel(&mut self, sample: &Sample) -> io::Result<u16> {
        let definition = definitions::recorded(sample.definition)
            .ok_or_else(|| io::Error::other("a type without definition"))?;
        let schema = self.writer.add_schema(definition.name, "ros2msg", definition.text.as_bytes());
        let about = BTreeMap::from([
            ("offered_qos_profiles".to_owned(), String::new()),
            ("topic_type_hash".to_owned(), definition.hash.to_owned()),
        ]);
        let schema = schema.map_err(io::Error::other)?;
        let channel = self.writer.add_channel(schema, &sample.topic, "cdr", &about);
        channel.map_err(io::Error::other)
    }

    /// Writes to the disk what the writer made; all of it or nothing.
    fn drain(&mut self) -> io::Result<()> {
        let bytes = self.sink.take();
        let written = self.file.write_all(&bytes);
        match &written {
            Ok(()) => self.contents.bytes += bytes.len() as u64,
            Err(_) => {
                self.broken = true;
                let good = self.contents.bytes;
                let _ = self.file.set_len(good);
                let _ = self.file.seek(io::SeekFrom::Start(good));
            }
        }
        written
    }

    /// Sends what was written to the disk itself.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Ends the file with its index.
    pub fn finish(mut self) -> io::Result<Contents> {
        if !self.broken {
            self.writer.finish().map_err(io::Error::other)?;
            self.drain()?;
        }
        self.file.sync_all()?;
        Ok(self.contents)
    }
}

/// What lies in a finished file by its own summary; none: it was cut off.
pub(super) fn read_contents(path: &Path) -> io::Result<Option<Contents>> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut reader = SummaryReader::new_with_options(SummaryReaderOptions {
        file_size: Some(bytes),
        record_length_limit: Some(MAX_RECORD_BYTES),
    });
    while let Some(event) = reader.next_event() {
        match event {
            Ok(SummaryReadEvent::ReadRequest(need)) => {
                let got = file.read(reader.insert(need))?;
                reader.notify_read(got);
            }
            Ok(SummaryReadEvent::SeekRequest(to)) => reader.notify_seeked(file.seek(to)?),
            Err(_) => return Ok(None),
        }
    }
    let Some(summary) = reader.finish() else { return Ok(None) };
    let Some(stats) = summary.stats else { return Ok(None) };
    let mut contents = Contents { bytes, ..Contents::default() };
    for (id, count) in &stats.channel_message_counts {
        let Some(channel) = summary.channels.get(id) else { continue };
        let type_name = channel.schema.as_ref().map_or("", |schema| schema.name.as_str());
        contents.topics.insert(channel.topic.clone(), (type_name.to_owned(), *count));
    }
    if stats.message_count > 0 {
        contents.span_ns = Some((stats.message_start_time, stats.message_end_time));
    }
    Ok(Some(contents))
}

/// Writes what can be read of a file that was cut off into `to`, with an index.
pub(super) fn repair(from: &Path, to: &Path) -> io::Result<Contents> {
    let mut out = RingFile::create(to)?;
    let options = LinearReaderOptions::default().with_record_length_limit(MAX_RECORD_BYTES);
    let source = BufReader::new(File::open(from)?);
    let messages = mcap::io::MessageReader::new_with_options(source, options);
    let mut frame: Vec<Sample> = Vec::new();
    let mut frame_ns = 0;
    for message in messages {
        // The end of what was written.
        let Ok(message) = message else { break };
        let name = message.channel.schema.as_ref().map_or("", |schema| schema.name.as_str());
        let Some(definition) = definitions::recorded(name) else { continue };
        if message.log_time != frame_ns && !frame.is_empty() {
            out.append(frame_ns, &frame)?;
            frame.clear();
        }
        frame_ns = message.log_time;
        frame.push(Sample {
            topic: message.channel.topic.clone(),
            definition: definition.name,
            cdr: message.data.into_owned(),
        });
    }
    if !frame.is_empty() {
        out.append(frame_ns, &frame)?;
    }
    out.finish()
}

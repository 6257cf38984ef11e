//! Bags that were cut off or damaged: whatever is readable comes out, what is lost is
//! counted, and nothing panics, hangs or eats memory.

#[path = "common/bags.rs"]
mod bags;
mod common;

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use bags::{FORMS, Form, mcap_bytes, messages, peak_rss_bytes, write_db3};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use spatial_ssrl::{
    source::{
        SourceError, SourceOptions, SourceReport,
        bag::{mcap::McapFile, storage::Storage},
        open,
    },
    tally::Tally,
};

const PAIRS: u64 = 8;
/// One damaged bag of this size may take this long at the very most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `test` on another thread and fails if it does not come back.
fn watched(seconds: u64, test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(seconds)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        // Done, or panicked: joining tells.
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Frames and report, or why it could not be opened.
fn read(path: &Path) -> Result<(u64, SourceReport), SourceError> {
    let start = Instant::now();
    let mut source = open(path.to_str().unwrap(), &SourceOptions::default())?;
    let mut frames = 0;
    while source.next_frame()?.is_some() {
        frames += 1;
    }
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(source.report().lost.get("reader_failed"), 0, "a decoder panicked");
    Ok((frames, source.report().clone()))
}

/// Messages before the first error, by a reader that shares nothing with ours but the
/// decompressors.
fn messages_by_plain_scan(bytes: &[u8]) -> u64 {
    let options = LinearReaderOptions::default().with_record_length_limit(64 << 20);
    let mut reader = LinearReader::new_with_options(options);
    let (mut at, mut messages) = (0, 0);
    while let Some(event) = reader.next_event() {
        match event {
            Ok(LinearReadEvent::ReadRequest(n)) => {
                let n = n.min(bytes.len() - at);
                reader.insert(n).copy_from_slice(&bytes[at..at + n]);
                reader.notify_read(n);
                at += n;
            }
            Ok(LinearReadEvent::Record { opcode: 0x05, .. }) => messages += 1,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    messages
}

/// Messages that our reader gives, and what it counts as lost.
fn messages_by_us(path: &Path) -> (u64, Tally) {
    let mut file = McapFile::open(path).unwrap();
    let topics: Vec<String> = file.topics().into_iter().map(|topic| topic.name).collect();
    file.want(&topics);
    let mut lost = Tally::default();
    let mut messages = 0;
    while file.next(&mut lost).is_some() {
        messages += 1;
    }
    (messages, lost)
}

#[test]
fn sound_small_bags_of_every_form_give_all_pairs_and_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let messages = messages(PAIRS, 64, 48);
    for form in FORMS {
        let path = dir.path().join("bag.mcap");
        std::fs::write(&path, mcap_bytes(&messages, form)).unwrap();
        let (frames, report) = read(&path).unwrap();
        assert_eq!((frames, report.lost.total()), (PAIRS, 0), "{form:?}: {report:?}");
    }
    let path = dir.path().join("bag.db3");
    write_db3(&path, &messages);
    let (frames, report) = read(&path).unwrap();
    assert_eq!((frames, report.lost.total()), (PAIRS, 0), "{report:?}");
}

#[test]
fn a_bag_cut_anywhere_gives_every_whole_message_and_counts_the_cut() {
    watched(120, || {
        let dir = tempfile::tempdir().unwrap();
        let messages = messages(PAIRS, 64, 48);
        let mut random = Pcg64Mcg::seed_from_u64(1);
        for form in FORMS {
            let whole = mcap_bytes(&messages, form);
            for _ in 0..40 {
                let cut = random.random_range(0..whole.len());
                let path = dir.path().join("cut.mcap");
                std::fs::write(&path, &whole[..cut]).unwrap();
                let expected = messages_by_plain_scan(&whole[..cut]);
                if cut > 0 {
                    let (got, lost) = messages_by_us(&path);
                    assert_eq!(got, expected, "{form:?} cut at {cut} of {}", whole.len());
                    assert!(lost.get("cut_off") == 1, "{form:?} cut at {cut}: {lost:?}");
                }
                match read(&path) {
                    Ok((frames, report)) => {
                        // Before the first depth there is only a colour picture.
                        let pairs = if expected < 3 { frames.min(1) } else { expected / 3 };
                        assert_eq!(frames, pairs, "{form:?} cut at {cut}: {report:?}");
                        assert!(report.lost.get("cut_off") > 0);
                    }
                    Err(SourceError::Nothing { .. }) => {
                        assert!(expected < 3, "{form:?} cut at {cut}: nothing was readable");
                    }
                    Err(error) => panic!("{form:?} cut at {cut}: {error}"),
                }
            }
        }
    });
}

#[test]
fn the_real_bag_cut_at_200_places_gives_every_whole_message() {
    let Some(bag) = common::shared("data/tum-fr1-rpy-10hz/tum-fr1-rpy-10hz.mcap") else { return };
    watched(300, move || {
        let dir = tempfile::tempdir().unwrap();
        let whole = std::fs::read(bag).unwrap();
        let path = dir.path().join("cut.mcap");
        std::fs::write(&path, &whole).unwrap();
        let mut cuts: Vec<usize> = {
            let mut random = Pcg64Mcg::seed_from_u64(2);
            (0..200).map(|_| random.random_range(1..whole.len())).collect()
        };
        cuts.sort_unstable();
        // From the end to the start, so that one file can be cut shorter and shorter.
        for (i, cut) in cuts.into_iter().rev().enumerate() {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(cut as u64).unwrap();
            let (got, lost) = messages_by_us(&path);
            assert_eq!(got, messages_by_plain_scan(&whole[..cut]), "cut at {cut}");
            assert_eq!(lost.get("cut_off"), 1, "cut at {cut}: {lost:?}");
            if i % 60 == 59 {
                let (frames, report) = read(&path).unwrap();
                // The depth of the last colour may lie behind the cut.
                assert!(frames >= got / 3, "cut at {cut}: {frames} {report:?}");
            }
        }
        assert!(peak_rss_bytes() < 700 << 20, "peak {} MiB", peak_rss_bytes() >> 20);
    });
}

#[test]
fn two_thousand_flipped_bits_cause_no_panic_no_hang_and_no_loss_that_is_not_counted() {
    watched(300, || {
        let dir = tempfile::tempdir().unwrap();
        let messages = messages(PAIRS, 64, 48);
        let db3 = dir.path().join("whole.db3");
        write_db3(&db3, &messages);
        let mut wholes: Vec<(&str, Vec<u8>)> = FORMS
            .iter()
            .map(|form| match form {
                Form::Plain => ("plain.mcap", mcap_bytes(&messages, *form)),
                Form::Zstd => ("zstd.mcap", mcap_bytes(&messages, *form)),
                Form::Lz4 => ("lz4.mcap", mcap_bytes(&messages, *form)),
                Form::Unchunked => ("unchunked.mcap", mcap_bytes(&messages, *form)),
                Form::Bare => ("bare.mcap", mcap_bytes(&messages, *form)),
            })
            .collect();
        wholes.push(("flipped.db3", std::fs::read(&db3).unwrap()));
        let before = peak_rss_bytes();
        let mut random = Pcg64Mcg::seed_from_u64(3);
        for (name, whole) in &wholes {
            let path = dir.path().join(name);
            let (mut unreadable, mut frames_read) = (0, 0);
            for _ in 0..340 {
                let bit = random.random_range(0..whole.len() * 8);
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bytes).unwrap();
                match read(&path) {
                    Ok((frames, report)) => {
                        let counted = report.lost.total() + report.unpaired.total();
                        assert!(
                            frames == PAIRS || counted > 0,
                            "{name}: bit {bit} lost {} frames in silence: {report:?}",
                            PAIRS - frames
                        );
                        frames_read += frames;
                    }
                    Err(_) => unreadable += 1,
                }
            }
            let share = frames_read as f64 / (340 * PAIRS) as f64;
            println!("{name}: {:.1} % of the frames, {unreadable} unreadable", 100.0 * share);
            // One bit costs one message, or one chunk where chunks are compressed.
            let least = if matches!(*name, "zstd.mcap" | "lz4.mcap") { 0.60 } else { 0.90 };
            assert!(share > least, "{name}: only {share:.3} of the frames");
        }
        let grown = peak_rss_bytes().saturating_sub(before);
        assert!(grown < 512 << 20, "{} MiB", grown >> 20);
    });
}

#[test]
fn noise_between_records_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let messages = messages(PAIRS, 64, 48);
    for form in [Form::Plain, Form::Unchunked, Form::Zstd] {
        let mut bytes = mcap_bytes(&messages, form);
        // 3,000 bytes in the middle are overwritten.
        let middle = bytes.len() / 2;
        let mut random = Pcg64Mcg::seed_from_u64(4);
        bytes[middle..middle + 3000].fill_with(|| random.random());
        let path = dir.path().join("hole.mcap");
        std::fs::write(&path, bytes).unwrap();
        let (frames, report) = read(&path).unwrap();
        assert!((3..PAIRS).contains(&frames), "{form:?}: {frames} {report:?}");
        assert!(!report.lost.is_empty());
    }
}

#[test]
fn a_file_made_of_lengths_that_lie_is_refused_quickly_and_in_little_memory() {
    watched(60, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("liar.mcap");
        let before = peak_rss_bytes();
        for (opcode, len) in [(5_u8, 1_u64 << 40), (6, u64::MAX), (4, 1 << 31), (5, 100 << 20)] {
            let mut bytes = mcap::MAGIC.to_vec();
            for _ in 0..100_000 {
                bytes.push(opcode);
                bytes.extend(len.to_le_bytes());
                bytes.extend([0; 31]);
            }
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(&path).is_err());
        }
        // A chunk that promises to unpack to more than there is memory.
        let packed = zstd::stream::encode_all(std::io::Read::take(std::io::repeat(5), 1 << 30), 1);
        let packed = packed.unwrap();
        let mut bytes = mcap::MAGIC.to_vec();
        bytes.push(6);
        bytes.extend((44 + packed.len() as u64).to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend((1_u64 << 30).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(b"zstd");
        bytes.extend((packed.len() as u64).to_le_bytes());
        bytes.extend(packed);
        std::fs::write(&path, &bytes).unwrap();
        assert!(read(&path).is_err());
        let grown = peak_rss_bytes().saturating_sub(before);
        assert!(grown < 512 << 20, "{} MiB", grown >> 20);
    });
}

#[test]
fn metadata_that_lies_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let bag = dir.path().join("bag");
    std::fs::create_dir(&bag).unwrap();
    let messages = messages(PAIRS, 64, 48);
    let half = messages.len() / 2;
    std::fs::write(bag.join("b_0.mcap"), mcap_bytes(&messages[..half], Form::Plain)).unwrap();
    std::fs::write(bag.join("b_1.mcap"), mcap_bytes(&messages[half..], Form::Zstd)).unwrap();
    let yaml = |files: &str, count: u64| {
        let topics: String = [
            (bags::COLOR, "CompressedImage"),
            (bags::DEPTH, "CompressedImage"),
            (bags::INFO, "CameraInfo"),
        ]
        .iter()
        .map(|(name, kind)| {
            format!(
                "    - topic_metadata: {{name: {name}, type: sensor_msgs/msg/{kind}, \
                 serialization_format: cdr, offered_qos_profiles: []}}\n      \
                 message_count: {count}\n"
            )
        })
        .collect();
        format!(
            "rosbag2_bagfile_information:\n  version: 9\n  relative_file_paths: [{files}]\n  \
             topics_with_message_count:\n{topics}"
        )
    };
    let with = |text: Option<String>| {
        let path = bag.join("metadata.yaml");
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        read(&bag).unwrap()
    };
    let (frames, report) = with(Some(yaml("b_0.mcap, b_1.mcap", PAIRS)));
    assert_eq!((frames, report.lost.total()), (PAIRS, 0), "{report:?}");

    let (frames, report) = with(Some(yaml("b_0.mcap, b_1.mcap, b_2.mcap", PAIRS + 5)));
    assert_eq!(frames, PAIRS);
    assert_eq!(report.lost.get("file_missing"), 1);
    assert_eq!(report.lost.get("messages_missing"), 15);

    let (frames, report) = with(Some(yaml("b_0.mcap, ../b_1.mcap, /etc/passwd", PAIRS)));
    assert_eq!(frames, PAIRS / 2);
    assert_eq!(report.lost.get("file_outside_bag"), 2);

    let (frames, report) = with(Some("{{{ not yaml".to_owned()));
    assert_eq!(frames, PAIRS);
    assert_eq!(report.lost.get("metadata_damaged"), 1);

    let (frames, report) = with(None);
    assert_eq!((frames, report.lost.total()), (PAIRS, 0), "{report:?}");
}

#[test]
fn a_database_that_runs_code_or_lies_about_its_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let messages = messages(2, 64, 48);
    for (i, hostile) in [
        "ALTER TABLE messages RENAME TO real; CREATE VIEW messages AS SELECT * FROM real;",
        "DROP TABLE messages; CREATE VIEW messages AS WITH RECURSIVE endless(id) AS (SELECT 1 \
         UNION ALL SELECT id + 1 FROM endless) SELECT id, 1 AS topic_id, 1 AS timestamp, \
         zeroblob(9) AS data FROM endless;",
        "DROP TABLE topics;",
    ]
    .iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{i}.db3"));
        write_db3(&path, &messages);
        rusqlite::Connection::open(&path).unwrap().execute_batch(hostile).unwrap();
        assert!(matches!(read(&path), Err(SourceError::Nothing { .. })), "{hostile}");
    }
    // A row whose number is the largest there is.
    let path = dir.path().join("far.db3");
    write_db3(&path, &messages);
    let far = "UPDATE messages SET id = 9223372036854775807 WHERE id = 6";
    rusqlite::Connection::open(&path).unwrap().execute(far, []).unwrap();
    assert_eq!(read(&path).unwrap().0, 2);
}

//! SQLite files as rosbag2 writes them: tables `topics` and `messages`. Read message by
//! message in recorded order; an error in the middle costs the messages that it hits.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{
    storage::{Recorded, Storage, StoredTopic},
    unpack::MAX_MESSAGE_BYTES,
};
use crate::tally::Tally;

/// What one row is.
enum Row {
    Message(Recorded),
    Unwanted,
    TooLarge,
}

/// The most topics that are read.
const MAX_TOPICS: usize = 10_000;

/// After this many unreadable rows in a row the rest is given up.
const MAX_FAILURES_IN_A_ROW: u64 = 100_000;

/// One `.db3` file.
pub struct Db3File {
    db: Connection,
    topics: Vec<(i64, StoredTopic)>,
    duration_s: Option<f64>,
    /// Wanted topics' row numbers in `topics`, in the order in which they are wanted.
    wanted: Vec<i64>,
    select: String,
    last_id: i64,
    /// The last row's number, once an error made it necessary to go row by row.
    by_row: Option<i64>,
    failures: u64,
    ended: bool,
    wal_ignored: bool,
}

/// Opens without ever writing. A write-ahead log that a crashed recorder left holds the
/// last messages, so then the file cannot be opened as immutable.
fn connect(path: &Path) -> rusqlite::Result<(Connection, bool)> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let has_wal = std::fs::metadata(PathBuf::from(wal)).is_ok_and(|wal| wal.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let probe = |db: &Connection| {
        db.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
    };
    if has_wal {
        let db = Connection::open_with_flags(path, flags)?;
        if probe(&db).is_ok() {
            return Ok((db, false));
        }
    }
    let uri = format!("file:{}?immutable=1", percent_encoded(path));
    let db = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?;
    probe(&db)?;
    Ok((db, has_wal))
}

fn percent_encoded(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                out.push(char::from(*byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl Db3File {
    /// Opens a file and reads its topics.
    ///
    /// # Errors
    /// In words, why it is no bag that can be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        let (db, wal_ignored) = connect(path).map_err(|error| error.to_string())?;
        // The schema is foreign too: no view, virtual table or computed column may run.
        db.pragma_update(None, "trusted_schema", false).map_err(|error| error.to_string())?;
        for table in ["topics", "messages"] {
            let sql: Option<String> = db
                .query_row(
                    "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1",
                    [table],
                    |row| row.get(0),
                )
                .optional()
                .map_err(|error| error.to_string())?;
            let sql = sql.unwrap_or_default().to_ascii_uppercase();
            if !sql.starts_with("CREATE TABLE") || sql.contains("GENERATED") || sql.contains(" AS ")
            {
                return Err(format!("it has no plain table {table:?}, so it is no rosbag2 file"));
            }
        }
        let topics = read_topics(&db).map_err(|error| error.to_string())?;
        let stamp = |order: &str| {
            let query = format!("SELECT timestamp FROM messages ORDER BY id {order} LIMIT 1");
            db.query_row(&query, [], |row| row.get::<_, i64>(0)).ok()
        };
        let duration_s = stamp("ASC")
            .zip(stamp("DESC"))
            .and_then(|(start, end)| end.checked_sub(start))
            .map(|ns| ns as f64 * 1e-9)
            .filter(|s| *s > 0.0);
        let mut file = Db3File {
            db,
            topics,
            duration_s,
            wanted: Vec::new(),
            select: String::new(),
            last_id: i64::MIN,
            by_row: None,
            failures: 0,
            ended: true,
            wal_ignored,
        };
        file.want(&[]);
        Ok(file)
    }

    fn read_row(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, Row)> {
        let id = row.get(0)?;
        let topic: i64 = row.get(1)?;
        let Some(topic) = self.wanted.iter().position(|id| *id == topic) else {
            return Ok((id, Row::Unwanted));
        };
        let log_ns = row.get(2)?;
        Ok((
            id,
            match row.get_ref(3)?.as_blob_or_null()? {
                Some(data) => Row::Message(Recorded { topic, log_ns, data: data.to_vec() }),
                None => Row::TooLarge,
            },
        ))
    }

    /// The next row by row number, after an error made the plain way impossible.
    fn next_by_row(&mut self, last: i64, lost: &mut Tally) -> Option<Recorded> {
        let query = format!("{} WHERE id = ?1", self.select);
        while self.last_id < last && self.failures < MAX_FAILURES_IN_A_ROW {
            self.last_id += 1;
            let row = self.db.prepare_cached(&query).and_then(|mut statement| {
                statement.query_row([self.last_id], |row| self.read_row(row)).optional()
            });
            match row {
                Ok(Some((_, Row::Message(message)))) => {
                    self.failures = 0;
                    return Some(message);
                }
                Ok(Some((_, Row::Unwanted))) => self.failures = 0,
                Ok(Some((_, Row::TooLarge))) => lost.add("message_too_large"),
                Ok(None) => self.failures += 1,
                Err(error) => {
                    tracing::debug!(%error, id = self.last_id, "unreadable row");
                    lost.add("db_row");
                    self.failures += 1;
                }
            }
        }
        if self.last_id < last {
            lost.add("db_given_up");
        }
        self.ended = true;
        None
    }

    /// The largest row number, or as far as it is worth trying where the tree is too damaged
    /// to tell.
    fn last_row(&self) -> i64 {
        let ask = |query: &str| self.db.query_row(query, [], |row| row.get::<_, i64>(0)).ok();
        ask("SELECT max(id) FROM messages")
            .or_else(|| ask("SELECT seq FROM sqlite_sequence WHERE name = 'messages'"))
            .unwrap_or_else(|| self.last_id.max(0).saturating_add(MAX_FAILURES_IN_A_ROW as i64))
    }
}

fn read_topics(db: &Connection) -> rusqlite::Result<Vec<(i64, StoredTopic)>> {
    let mut topics = Vec::new();
    let mut select =
        db.prepare("SELECT id, name, type, serialization_format FROM topics ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if topics.len() == MAX_TOPICS {
            break;
        }
        let topic = StoredTopic {
            name: row.get(1)?,
            ros_type: row.get(2)?,
            serialization: row.get(3)?,
            messages: None,
        };
        topics.push((row.get(0)?, topic));
    }
    Ok(topics)
}

impl Storage for Db3File {
    fn topics(&self) -> Vec<StoredTopic> {
        self.topics.iter().map(|(_, topic)| topic.clone()).collect()
    }

    fn duration_s(&self) -> Option<f64> {
        self.duration_s
    }

    fn want(&mut self, topics: &[String]) {
        let row_of = |name: &String| {
            self.topics
                .iter()
                .find(|(_, topic)| topic.name == *name)
                .map_or(i64::MIN, |(id, _)| *id)
        };
        self.wanted = topics.iter().map(row_of).collect();
        let ids: Vec<String> = self.wanted.iter().map(i64::to_string).collect();
        // Bytes of unwanted topics and of messages that are too large never leave the file.
        self.select = format!(
            "SELECT id, topic_id, timestamp, CASE WHEN topic_id IN ({}) AND \
             length(data) <= {MAX_MESSAGE_BYTES} THEN data END FROM messages",
            ids.join(",")
        );
        self.last_id = i64::MIN;
        self.by_row = None;
        self.failures = 0;
        self.ended = false;
    }

    fn next(&mut self, lost: &mut Tally) -> Option<Recorded> {
        if std::mem::take(&mut self.wal_ignored) {
            lost.add("db_write_ahead_log");
        }
        // Row after row by its number: a damaged or malicious tree that leads in circles shows
        // itself by a number that does not grow.
        let query = format!("{} WHERE id > ?1 ORDER BY id LIMIT 1", self.select);
        while !self.ended {
            if let Some(last) = self.by_row {
                return self.next_by_row(last, lost);
            }
            let row = self.db.prepare_cached(&query).and_then(|mut statement| {
                statement.query_row([self.last_id], |row| self.read_row(row)).optional()
            });
            match row {
                Ok(None) => self.ended = true,
                Ok(Some((id, _))) if id <= self.last_id => {
                    lost.add("db_damaged");
                    self.ended = true;
                }
                Ok(Some((id, row))) => {
                    self.last_id = id;
                    match row {
                        Row::Message(message) => return Some(message),
                        Row::Unwanted => {}
                        Row::TooLarge => lost.add("message_too_large"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, after = self.last_id, "damaged database: going row by row");
                    lost.add("db_damaged");
                    self.last_id = self.last_id.max(0);
                    self.by_row = Some(self.last_row());
                }
            }
        }
        None
    }
}

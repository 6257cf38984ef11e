//! Parquet with the pictures inside, as `datasets` reads pictures:
//! `list<struct<bytes, path>>`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    data_type::{ByteArray, ByteArrayType, Int64Type},
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::{parser::parse_message_type, types::ColumnPath},
};

use super::{
    dataset::{ExportError, io_error},
    jsonl::picture_name,
    row::TaskRow,
};

/// A row group is written when it holds this much, so memory does not grow with the file.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Or this many rows.
const ROW_GROUP_ROWS: usize = 256;

const SCHEMA: &str = "message tasks {
    required binary problem (STRING);
    required group prompt (LIST) {
        repeated group list {
            required group element {
                required binary content (STRING);
                required binary role (STRING);
            }
        }
    }
    required binary answer (STRING);
    required group images (LIST) {
        repeated group list {
            required group element {
                required binary bytes;
                required binary path (STRING);
            }
        }
    }
    required binary kind (STRING);
    required binary variant (STRING);
    required binary preset (STRING);
    required int64 stamp_ns;
    required binary frame_id (STRING);
    required binary seed (STRING);
    required binary question (STRING);
}";

/// Tells `datasets` that `images` are pictures, so that rows come out with them decoded.
const FEATURES: &str = r#"{"info": {"features": {
"problem": {"dtype": "string", "_type": "Value"},
"prompt": [{"content": {"dtype": "string", "_type": "Value"}, "role": {"dtype": "string", "_type": "Value"}}],
"answer": {"dtype": "string", "_type": "Value"},
"images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
"kind": {"dtype": "string", "_type": "Value"},
"variant": {"dtype": "string", "_type": "Value"},
"preset": {"dtype": "string", "_type": "Value"},
"stamp_ns": {"dtype": "int64", "_type": "Value"},
"frame_id": {"dtype": "string", "_type": "Value"},
"seed": {"dtype": "string", "_type": "Value"},
"question": {"dtype": "string", "_type": "Value"}}}}"#;

pub(crate) struct ParquetWriter {
    path: PathBuf,
    out: SerializedFileWriter<File>,
    /// Rows of the row group at hand, with their numbers.
    rows: Vec<(u64, TaskRow)>,
    bytes: usize,
}

impl ParquetWriter {
    pub fn create(path: &Path) -> Result<Self, ExportError> {
        let file = File::create_new(path).map_err(io_error(path))?;
        let broken = parquet_error(path);
        let schema = parse_message_type(SCHEMA).map_err(&broken)?;
        let pictures =
            ColumnPath::new(["images", "list", "element", "bytes"].map(str::to_owned).to_vec());
        let features = KeyValue::new("huggingface".to_owned(), FEATURES.replace('\n', ""));
        let properties = WriterProperties::builder()
            .set_created_by(concat!("spatial-ssrl version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![features]))
            // A dictionary or a smallest value of pictures would only copy them.
            .set_column_dictionary_enabled(pictures.clone(), false)
            .set_column_statistics_enabled(pictures, EnabledStatistics::None)
            .build();
        let out = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
            .map_err(&broken)?;
        Ok(ParquetWriter { path: path.to_owned(), out, rows: Vec::new(), bytes: 0 })
    }

    pub fn push(&mut self, number: u64, row: TaskRow) -> Result<(), ExportError> {
        self.bytes += row.size_bytes();
        self.rows.push((number, row));
        if self.bytes >= ROW_GROUP_BYTES || self.rows.len() >= ROW_GROUP_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), ExportError> {
        self.flush()?;
        let broken = parquet_error(&self.path);
        let file = self.out.inner().try_clone().map_err(io_error(&self.path))?;
        self.out.close().map_err(&broken)?;
        file.sync_all().map_err(io_error(&self.path))
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let broken = parquet_error(&self.path);
        let mut group = self.out.next_row_group().map_err(&broken)?;
        write_rows(&mut group, rows).map_err(&broken)?;
        group.close().map_err(&broken)?;
        Ok(())
    }
}

/// All columns of one row group, in the order of the schema.
fn write_rows(
    group: &mut SerializedRowGroupWriter<'_, File>,
    mut rows: Vec<(u64, TaskRow)>,
) -> Result<(), ParquetError> {
    type Text = fn(&TaskRow) -> &str;
    let text = |group: &mut SerializedRowGroupWriter<'_, File>, of: Text| {
        let values: Vec<ByteArray> = rows.iter().map(|(_, row)| of(row).into()).collect();
        column(group, &values, None)
    };
    text(group, |row| &row.problem)?;

    let one_message = Levels::of_lengths(rows.iter().map(|(_, row)| row.prompt().len()));
    let messages = || rows.iter().flat_map(|(_, row)| row.prompt());
    let contents: Vec<ByteArray> = messages().map(|m| m.content.into_bytes().into()).collect();
    column(group, &contents, Some(&one_message))?;
    let roles: Vec<ByteArray> = messages().map(|m| m.role.into()).collect();
    column(group, &roles, Some(&one_message))?;

    text(group, |row| &row.answer)?;

    let pictures = Levels::of_lengths(rows.iter().map(|(_, row)| row.images.len()));
    let names: Vec<ByteArray> = rows
        .iter()
        .flat_map(|(number, row)| (0..row.images.len()).map(|i| picture_name(*number, i)))
        .map(|name| name.into_bytes().into())
        .collect();
    // The pictures are moved, not copied: they are nearly all of the row group.
    let bytes: Vec<ByteArray> = rows
        .iter_mut()
        .flat_map(|(_, row)| std::mem::take(&mut row.images))
        .map(ByteArray::from)
        .collect();
    column(group, &bytes, Some(&pictures))?;
    column(group, &names, Some(&pictures))?;

    let text = |group: &mut SerializedRowGroupWriter<'_, File>, of: Text| {
        let values: Vec<ByteArray> = rows.iter().map(|(_, row)| of(row).into()).collect();
        column(group, &values, None)
    };
    text(group, |row| &row.kind)?;
    text(group, |row| &row.variant)?;
    text(group, |row| &row.preset)?;

    let stamps: Vec<i64> = rows.iter().map(|(_, row)| row.stamp_ns).collect();
    let mut writer = next_column(group)?;
    writer.typed::<Int64Type>().write_batch(&stamps, None, None)?;
    writer.close()?;

    let ids = |id: fn(&TaskRow) -> u64| -> Vec<ByteArray> {
        rows.iter().map(|(_, row)| id(row).to_string().into_bytes().into()).collect()
    };
    column(group, &ids(|row| row.frame_id), None)?;
    column(group, &ids(|row| row.seed), None)?;
    text(group, |row| &row.question)
}

/// Definition and repetition levels of a list of required values.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levels {
    /// A value is defined at level 1 (an empty list at 0); the first of a row starts the
    /// row (repetition 0), the others repeat the list (1).
    fn of_lengths(lengths: impl Iterator<Item = usize>) -> Self {
        let mut levels = Levels { definition: Vec::new(), repetition: Vec::new() };
        for length in lengths {
            levels.definition.push(i16::from(length > 0));
            levels.repetition.push(0);
            for _ in 1..length {
                levels.definition.push(1);
                levels.repetition.push(1);
            }
        }
        levels
    }
}

fn column(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[ByteArray],
    levels: Option<&Levels>,
) -> Result<(), ParquetError> {
    let mut writer = next_column(group)?;
    let definition = levels.map(|levels| levels.definition.as_slice());
    let repetition = levels.map(|levels| levels.repetition.as_slice());
    writer.typed::<ByteArrayType>().write_batch(values, definition, repetition)?;
    writer.close()
}

fn next_column<'a>(
    group: &'a mut SerializedRowGroupWriter<'_, File>,
) -> Result<parquet::file::writer::SerializedColumnWriter<'a>, ParquetError> {
    let missing = || ParquetError::General("the schema has no further column".to_owned());
    group.next_column()?.ok_or_else(missing)
}

fn parquet_error(path: &Path) -> impl Fn(ParquetError) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Parquet { path: path.clone(), source }
}

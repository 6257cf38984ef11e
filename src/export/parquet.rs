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

/// Nothing is ever missing, but all is `optional`: `datasets` takes its own notes ([`FEATURES`])
/// only where the columns are nullable.
const SCHEMA: &str = "message tasks {
    optional binary problem (STRING);
    optional group prompt (LIST) {
        repeated group list {
            optional group element {
                optional binary content (STRING);
                optional binary role (STRING);
            }
        }
    }
    optional binary answer (STRING);
    optional group images (LIST) {
        repeated group list {
            optional group element {
                optional binary bytes;
                optional binary path (STRING);
            }
        }
    }
    optional binary kind (STRING);
    optional binary variant (STRING);
    optional binary preset (STRING);
    optional int64 stamp_ns;
    optional binary frame_id (STRING);
    optional binary seed (STRING);
    optional binary question (STRING);
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
    let plain = Levels::plain(rows.len());
    let text = |group: &mut SerializedRowGroupWriter<'_, File>, of: Text| {
        let values: Vec<ByteArray> = rows.iter().map(|(_, row)| of(row).into()).collect();
        column(group, &values, &plain)
    };
    text(group, |row| &row.problem)?;

    let one_message = Levels::of_lengths(rows.iter().map(|(_, row)| row.prompt().len()));
    let messages = || rows.iter().flat_map(|(_, row)| row.prompt());
    let contents: Vec<ByteArray> = messages().map(|m| m.content.into_bytes().into()).collect();
    column(group, &contents, &one_message)?;
    let roles: Vec<ByteArray> = messages().map(|m| m.role.into()).collect();
    column(group, &roles, &one_message)?;

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
    column(group, &bytes, &pictures)?;
    column(group, &names, &pictures)?;

    let text = |group: &mut SerializedRowGroupWriter<'_, File>, of: Text| {
        let values: Vec<ByteArray> = rows.iter().map(|(_, row)| of(row).into()).collect();
        column(group, &values, &plain)
    };
    text(group, |row| &row.kind)?;
    text(group, |row| &row.variant)?;
    text(group, |row| &row.preset)?;

    let stamps: Vec<i64> = rows.iter().map(|(_, row)| row.stamp_ns).collect();
    let mut writer = next_column(group)?;
    writer.typed::<Int64Type>().write_batch(&stamps, Some(&plain.definition), None)?;
    writer.close()?;

    let ids = |id: fn(&TaskRow) -> u64| -> Vec<ByteArray> {
        rows.iter().map(|(_, row)| id(row).to_string().into_bytes().into()).collect()
    };
    column(group, &ids(|row| row.frame_id), &plain)?;
    column(group, &ids(|row| row.seed), &plain)?;
    text(group, |row| &row.question)
}

/// Definition and repetition levels of one column.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levels {
    /// Of a plain column that has a value in every row.
    fn plain(rows: usize) -> Self {
        Levels { definition: vec![1; rows], repetition: vec![0; rows] }
    }

    /// Of a field of a list of structs. A value lies under four levels that could be missing
    /// or repeated (list, entry, struct, field), an empty list shows the first alone. The
    /// first entry of a row starts the row (repetition 0), the others repeat the list (1).
    fn of_lengths(lengths: impl Iterator<Item = usize>) -> Self {
        const VALUE: i16 = 4;
        const EMPTY: i16 = 1;
        let mut levels = Levels { definition: Vec::new(), repetition: Vec::new() };
        for length in lengths {
            levels.definition.push(if length > 0 { VALUE } else { EMPTY });
            levels.repetition.push(0);
            for _ in 1..length {
                levels.definition.push(VALUE);
                levels.repetition.push(1);
            }
        }
        levels
    }
}

fn column(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[ByteArray],
    levels: &Levels,
) -> Result<(), ParquetError> {
    let mut writer = next_column(group)?;
    let (definition, repetition) = (&levels.definition, &levels.repetition);
    writer.typed::<ByteArrayType>().write_batch(values, Some(definition), Some(repetition))?;
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

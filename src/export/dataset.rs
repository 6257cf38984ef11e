//! A folder that becomes a data set all at once, or not at all.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    jsonl::JsonlWriter,
    parquet::ParquetWriter,
    row::{RowError, TaskRow},
};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `data/train.jsonl` with the pictures as files under `images/`.
    #[default]
    Jsonl,
    /// `data/train.parquet` with the pictures inside.
    Parquet,
}

impl Format {
    /// The file of the rows, relative to the data set's folder.
    pub fn rows_file(self) -> &'static str {
        match self {
            Format::Jsonl => "data/train.jsonl",
            Format::Parquet => "data/train.parquet",
        }
    }
}

/// Why a data set cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The folder holds something already.
    #[error("{path} exists and is not empty: choose another folder, or empty it first")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The path has no last part to name a folder by.
    #[error("{path} is no name for a folder")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The Parquet writer refused.
    #[error("cannot write {path} as Parquet: {source}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        source: parquet::errors::ParquetError,
    },
    /// A task makes no row.
    #[error(transparent)]
    Row(#[from] RowError),
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.to_owned();
    move |source| ExportError::Io { path, source }
}

enum Rows {
    Jsonl(JsonlWriter),
    Parquet(Box<ParquetWriter>),
}

/// Writes a data set into a folder of its own.
///
/// Everything goes to a hidden folder beside it first, which takes the final name when all
/// is on disk: a folder of that name is always a whole data set. Memory does not grow with
/// the number of rows.
///
/// | column | what it holds |
/// |---|---|
/// | `problem` | question with `<image>` placeholders (EasyR1, verl: `prompt_key=problem`) |
/// | `prompt` | the same as a chat without placeholders (TRL) |
/// | `answer` | the string that is scored (`answer_key=answer`) |
/// | `images` | JSONL: paths relative to the folder (`image_dir`); Parquet: `{bytes, path}` |
/// | `kind`, `variant`, `preset` | which task, made by which rules |
/// | `stamp_ns`, `frame_id`, `seed` | what makes it again; 64-bit ids as decimal strings |
/// | `question` | the machine-readable question, JSON |
pub struct DatasetWriter {
    target: PathBuf,
    /// Removed when the writer is dropped before it finished.
    partial: Partial,
    format: Format,
    rows: Rows,
    written: u64,
}

struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // Nothing can be done about a failure here; the name says that it is partial.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

impl DatasetWriter {
    /// Starts a data set that will be the folder `target`, which must not exist or be empty.
    ///
    /// # Errors
    /// [`ExportError`]: the folder is in use, or the system refused.
    pub fn create(target: &Path, format: Format) -> Result<Self, ExportError> {
        refuse_used(target)?;
        let name = target.file_name().ok_or_else(|| ExportError::NoName { path: target.into() })?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".partial-{}", std::process::id()));
        let root = target.with_file_name(hidden);
        // Left over from a killed process that had the same number.
        let _ = std::fs::remove_dir_all(&root);
        let partial = Partial(Some(root.clone()));
        let data = root.join("data");
        std::fs::create_dir_all(&data).map_err(io_error(&data))?;
        let path = root.join(format.rows_file());
        let rows = match format {
            Format::Jsonl => Rows::Jsonl(JsonlWriter::create(&root, &path)?),
            Format::Parquet => Rows::Parquet(Box::new(ParquetWriter::create(&path)?)),
        };
        Ok(DatasetWriter { target: target.to_owned(), partial, format, rows, written: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`ExportError`] when the system refused (the disk is full, say).
    pub fn push(&mut self, row: TaskRow) -> Result<(), ExportError> {
        match &mut self.rows {
            Rows::Jsonl(rows) => rows.push(self.written, &row)?,
            Rows::Parquet(rows) => rows.push(self.written, row)?,
        }
        self.written += 1;
        Ok(())
    }

    /// How many rows were added.
    pub fn len(&self) -> u64 {
        self.written
    }

    /// Whether no row was added yet.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Adds a file of the user's own beside the rows, `name` being relative and plain.
    ///
    /// # Errors
    /// [`ExportError`] when the system refused.
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.root().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        std::fs::write(&path, bytes).map_err(io_error(&path))
    }

    /// Ends the data set: all rows are on disk and the folder has its name.
    ///
    /// # Errors
    /// [`ExportError`]: the system refused, or the folder came into use meanwhile. Nothing
    /// of the data set is left then.
    pub fn finish(mut self) -> Result<PathBuf, ExportError> {
        let card = format!(
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n---\n\
             Spatial tasks with verifiable answers, made by spatial-ssrl from RGB-D frames.\n",
            self.format.rows_file()
        );
        self.add_file("README.md", card.as_bytes())?;
        match self.rows {
            Rows::Jsonl(rows) => rows.finish()?,
            Rows::Parquet(rows) => rows.finish()?,
        }
        refuse_used(&self.target)?;
        if let Some(root) = &self.partial.0 {
            std::fs::rename(root, &self.target).map_err(io_error(&self.target))?;
        }
        self.partial.0 = None;
        Ok(self.target)
    }

    fn root(&self) -> &Path {
        self.partial.0.as_deref().unwrap_or(&self.target)
    }
}

fn refuse_used(target: &Path) -> Result<(), ExportError> {
    match std::fs::read_dir(target) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(ExportError::NotEmpty { path: target.into() }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(target)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::File};

    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::{Field, RowAccessor},
    };

    use super::*;
    use crate::export::row::tests::row;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_in_use_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("mine"), "mine").unwrap();
        let refused = DatasetWriter::create(home.path(), Format::Jsonl);
        assert!(matches!(refused.err().unwrap(), ExportError::NotEmpty { .. }));
        assert_eq!(names(home.path()), ["mine"]);
        let file = home.path().join("mine");
        assert!(matches!(DatasetWriter::create(&file, Format::Jsonl), Err(ExportError::Io { .. })));
    }

    #[test]
    fn an_empty_folder_may_be_used() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        fs::create_dir(&out).unwrap();
        DatasetWriter::create(&out, Format::Parquet).unwrap().finish().unwrap();
        assert_eq!(names(&out), ["README.md", "data"]);
    }

    #[test]
    fn a_data_set_that_was_not_finished_leaves_nothing_behind() {
        for format in [Format::Jsonl, Format::Parquet] {
            let home = tempfile::tempdir().unwrap();
            let mut writer = DatasetWriter::create(&home.path().join("out"), format).unwrap();
            writer.push(row(0, 2)).unwrap();
            assert!(!home.path().join("out").exists(), "not before it is whole");
            drop(writer);
            assert_eq!(names(home.path()), Vec::<String>::new());
        }
    }

    #[test]
    fn a_folder_that_came_into_use_meanwhile_is_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let mut writer = DatasetWriter::create(&out, Format::Jsonl).unwrap();
        writer.push(row(0, 1)).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("theirs"), "theirs").unwrap();
        assert!(matches!(writer.finish(), Err(ExportError::NotEmpty { .. })));
        assert_eq!(names(home.path()), ["out"]);
        assert_eq!(names(&out), ["theirs"]);
    }

    #[test]
    fn every_jsonl_row_names_pictures_that_are_there() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let mut writer = DatasetWriter::create(&out, Format::Jsonl).unwrap();
        for (number, pictures) in [1, 5, 0, 2].into_iter().enumerate() {
            writer.push(row(number, pictures)).unwrap();
        }
        assert_eq!(writer.len(), 4);
        writer.finish().unwrap();
        let text = fs::read_to_string(out.join("data/train.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (number, (line, pictures)) in lines.iter().zip([1, 5, 0, 2]).enumerate() {
            let images = line["images"].as_array().unwrap();
            assert_eq!(images.len(), pictures);
            assert_eq!(line["problem"].as_str().unwrap().matches("<image>").count(), pictures);
            for (i, name) in images.iter().enumerate() {
                let picture = image::open(out.join(name.as_str().unwrap())).unwrap().to_rgb8();
                assert_eq!(picture.get_pixel(0, 0).0, [number as u8, i as u8, 7]);
            }
            assert_eq!(line["seed"], (u64::MAX - 1).to_string());
            assert_eq!(line["stamp_ns"], 1_305_031_229_564_442_000_i64);
        }
    }

    #[test]
    fn parquet_rows_keep_their_pictures_over_many_row_groups() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let mut writer = DatasetWriter::create(&out, Format::Parquet).unwrap();
        let pictures = |number: usize| number % 6;
        for number in 0..600 {
            writer.push(row(number % 200, pictures(number))).unwrap();
        }
        writer.finish().unwrap();
        let file = File::open(out.join("data/train.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 600);
        assert_eq!(reader.num_row_groups(), 3);
        for (number, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            assert_eq!(row.get_string(2).unwrap(), "3-0");
            let images = row.get_list(3).unwrap();
            assert_eq!(images.len(), pictures(number));
            for (i, image) in images.elements().iter().enumerate() {
                let Field::Group(image) = image else { panic!("{image:?}") };
                let bytes = image.get_bytes(0).unwrap();
                let picture = image::load_from_memory(bytes.data()).unwrap().to_rgb8();
                assert_eq!(picture.get_pixel(0, 0).0, [(number % 200) as u8, i as u8, 7]);
                assert_eq!(image.get_string(1).unwrap(), &format!("{number:07}_{i}.png"));
            }
        }
    }
}

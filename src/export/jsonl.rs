//! One JSON object a line; pictures are files beside it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    dataset::{ExportError, io_error},
    row::{Message, TaskRow},
};

/// Where pictures lie, relative to the data set's folder.
pub(crate) const IMAGE_DIR: &str = "images";

/// A line. 64-bit ids are strings: loaders read JSON numbers as signed or as floats.
#[derive(Serialize)]
struct Line<'a> {
    problem: &'a str,
    prompt: [Message; 1],
    answer: &'a str,
    images: Vec<String>,
    kind: &'a str,
    variant: &'a str,
    preset: &'a str,
    stamp_ns: i64,
    frame_id: String,
    seed: String,
    question: &'a str,
}

pub(crate) struct JsonlWriter {
    root: PathBuf,
    path: PathBuf,
    out: BufWriter<File>,
}

impl JsonlWriter {
    pub fn create(root: &Path, path: &Path) -> Result<Self, ExportError> {
        let images = root.join(IMAGE_DIR);
        std::fs::create_dir_all(&images).map_err(io_error(&images))?;
        let file = File::create_new(path).map_err(io_error(path))?;
        Ok(JsonlWriter { root: root.to_owned(), path: path.to_owned(), out: BufWriter::new(file) })
    }

    pub fn push(&mut self, number: u64, row: &TaskRow) -> Result<(), ExportError> {
        let mut images = Vec::with_capacity(row.images.len());
        for (i, png) in row.images.iter().enumerate() {
            let name = format!("{IMAGE_DIR}/{}", picture_name(number, i));
            let path = self.root.join(&name);
            std::fs::write(&path, png).map_err(io_error(&path))?;
            images.push(name);
        }
        let line = Line {
            problem: &row.problem,
            prompt: row.prompt(),
            answer: &row.answer,
            images,
            kind: &row.kind,
            variant: &row.variant,
            preset: &row.preset,
            stamp_ns: row.stamp_ns,
            frame_id: row.frame_id.to_string(),
            seed: row.seed.to_string(),
            question: &row.question,
        };
        serde_json::to_writer(&mut self.out, &line)
            .map_err(|error| io_error(&self.path)(error.into()))?;
        self.out.write_all(b"\n").map_err(io_error(&self.path))
    }

    pub fn finish(self) -> Result<(), ExportError> {
        let path = self.path;
        let file = self.out.into_inner().map_err(|error| io_error(&path)(error.into_error()))?;
        file.sync_all().map_err(io_error(&path))
    }
}

/// The name of picture `i` of row `number`.
pub(crate) fn picture_name(number: u64, i: usize) -> String {
    format!("{number:07}_{i}.png")
}

//! Words and pictures to the tokens and patches that Qwen2.5-VL reads, and tokens to words.
//!
//! The chat template of the published checkpoints is a fixed sequence around the question; it
//! is laid out here token by token. So text of a question can never become a control token,
//! and the image tokens always number what the pictures need.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

pub use super::model::Prompt;
use super::{
    QwenConfig,
    picture::{PictureConfig, PictureError},
};

/// How questions are put.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessorConfig {
    /// Smaller pictures are enlarged to this many pixels; the checkpoint's own if not given.
    pub min_pixels: Option<u64>,
    /// Larger pictures are shrunk to this many pixels; the checkpoint's own if not given.
    pub max_pixels: Option<u64>,
    /// Longest prompt in tokens, pictures included. A longer one is refused, never cut.
    pub max_prompt_tokens: usize,
    /// What the system says first.
    pub system: String,
}

impl Default for ProcessorConfig {
    fn default() -> Self {
        ProcessorConfig {
            min_pixels: None,
            max_pixels: None,
            max_prompt_tokens: 4096,
            system: "You are a helpful assistant.".to_owned(),
        }
    }
}

/// Why a prompt cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// No usable tokenizer.
    #[error("{}: {why}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A control token that is not where the model has it.
    #[error("{}: {token} is {got}, but config.json has it as {needed}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The token.
        token: &'static str,
        /// Its number in the tokenizer.
        got: u32,
        /// Its number in the model.
        needed: u32,
    },
    /// A text that cannot be split into tokens.
    #[error("the text cannot be split into tokens: {0}")]
    Encode(String),
    /// Tokens that are no text.
    #[error("the tokens cannot be joined to a text: {0}")]
    Decode(String),
    /// A prompt beyond the limit.
    #[error(
        "the prompt has {total} tokens ({text} of text, {image} of {pictures} pictures), at most {limit} are allowed: lower max_pixels (now {max_pixels}) or raise max_prompt_tokens; a picture is never cut"
    )]
    TooLong {
        /// All tokens.
        total: usize,
        /// Those of the text.
        text: usize,
        /// Those of the pictures.
        image: usize,
        /// How many pictures.
        pictures: usize,
        /// The most tokens.
        limit: usize,
        /// The most pixels of a picture.
        max_pixels: u64,
    },
    /// A picture, or how pictures are prepared.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// The control tokens.
#[derive(Clone, Copy, Debug)]
struct Control {
    im_start: u32,
    im_end: u32,
    vision_start: u32,
    vision_end: u32,
    image: u32,
}

/// The largest `tokenizer.json` that is read, bytes. Qwen's has 7 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Makes prompts and reads answers.
#[derive(Clone, Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    pictures: PictureConfig,
    control: Control,
    config: ProcessorConfig,
}

impl Processor {
    /// Reads `tokenizer.json` and `preprocessor_config.json` of a checkpoint folder.
    ///
    /// # Errors
    /// [`ProcessorError`] when one of them is missing, damaged, or belongs to another model.
    pub fn read(
        folder: &Path,
        model: &QwenConfig,
        config: ProcessorConfig,
    ) -> Result<Self, ProcessorError> {
        let pictures = PictureConfig::read(folder, &model.vision)?
            .with_limits(config.min_pixels, config.max_pixels)?;
        let path = folder.join("tokenizer.json");
        let tokenizer = read_tokenizer(&path)?;
        let wrong = |why: String| ProcessorError::Tokenizer { path: path.clone(), why };
        let id = |token: &'static str| {
            tokenizer.token_to_id(token).ok_or_else(|| wrong(format!("has no token {token}")))
        };
        for (token, needed) in [
            ("<|image_pad|>", model.image_token),
            ("<|vision_start|>", model.vision_start),
            ("<|vision_end|>", model.vision_end),
        ] {
            let got = id(token)?;
            if got != needed {
                return Err(ProcessorError::Token { path, token, got, needed });
            }
        }
        let (words, rows) = (tokenizer.get_vocab_size(true), model.text.vocabulary);
        if words > rows {
            return Err(wrong(format!("{words} tokens, but the model has only {rows}")));
        }
        let control = Control {
            im_start: id("<|im_start|>")?,
            im_end: id("<|im_end|>")?,
            vision_start: model.vision_start,
            vision_end: model.vision_end,
            image: model.image_token,
        };
        Ok(Processor { tokenizer, pictures, control, config })
    }

    /// How pictures become patches.
    pub fn picture_config(&self) -> &PictureConfig {
        &self.pictures
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.control.im_end
    }

    /// A question about pictures, ready to be answered. The pictures come before the text.
    ///
    /// # Errors
    /// [`ProcessorError::TooLong`] before any picture is touched; [`ProcessorError::Picture`].
    pub fn prompt(&self, pictures: &[RgbImage], text: &str) -> Result<Prompt, ProcessorError> {
        let counts = pictures
            .iter()
            .map(|picture| self.pictures.tokens(picture.width(), picture.height()))
            .collect::<Result<Vec<usize>, _>>()?;
        let ids = self.layout(&counts, text)?;
        let image: usize = counts.iter().sum();
        let (total, limit) = (ids.len() + image - counts.len(), self.config.max_prompt_tokens);
        if total > limit {
            return Err(ProcessorError::TooLong {
                total,
                text: total - image,
                image,
                pictures: pictures.len(),
                limit,
                max_pixels: self.pictures.max_pixels,
            });
        }
        let patches = pictures.iter().map(|picture| self.pictures.patches(picture));
        let pictures = patches.collect::<Result<_, _>>()?;
        let mut counts = counts.into_iter();
        let mut all = Vec::with_capacity(total);
        for id in ids {
            let times = if id == self.control.image { counts.next().unwrap_or(1) } else { 1 };
            all.extend(std::iter::repeat_n(id, times));
        }
        Ok(Prompt { ids: all, pictures })
    }

    /// The chat template, with one image token for each picture.
    fn layout(&self, counts: &[usize], text: &str) -> Result<Vec<u32>, ProcessorError> {
        let Control { im_start, im_end, vision_start, vision_end, image } = self.control;
        let mut ids = Vec::new();
        let mut turn = |role: &str, pictures: usize, text: &str, ended: bool| {
            ids.push(im_start);
            // Text next to text is split into tokens together, as the template's is.
            let head = format!("{role}\n");
            let whole = format!("{head}{text}");
            match pictures {
                0 => ids.extend(self.encode(&whole)?),
                _ => {
                    ids.extend(self.encode(&head)?);
                    for _ in 0..pictures {
                        ids.extend([vision_start, image, vision_end]);
                    }
                    ids.extend(self.encode(text)?);
                }
            }
            if ended {
                ids.push(im_end);
                ids.extend(self.encode("\n")?);
            }
            Ok::<(), ProcessorError>(())
        };
        turn("system", 0, &self.config.system, true)?;
        turn("user", counts.len(), text, true)?;
        turn("assistant", 0, "", false)?;
        Ok(ids)
    }

    /// The tokens of a text. Names of control tokens in it are plain text.
    ///
    /// # Errors
    /// [`ProcessorError::Encode`] when the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|error| ProcessorError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of an answer with the one that ends it, as a model is taught it.
    ///
    /// # Errors
    /// [`ProcessorError::Encode`] when the tokenizer fails.
    pub fn answer(&self, text: &str) -> Result<Vec<u32>, ProcessorError> {
        let mut ids = self.encode(text)?;
        ids.push(self.control.im_end);
        Ok(ids)
    }

    /// The text of sampled tokens, without control tokens.
    ///
    /// # Errors
    /// [`ProcessorError::Decode`] when the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, ProcessorError> {
        let text = self.tokenizer.decode(ids, true);
        text.map_err(|error| ProcessorError::Decode(error.to_string()))
    }
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, ProcessorError> {
    let wrong = |why: String| ProcessorError::Tokenizer { path: path.to_owned(), why };
    let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > MAX_BYTES {
        return Err(wrong(format!("{bytes} bytes are no tokenizer (at most {MAX_BYTES})")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| wrong(error.to_string()))?;
    // Prompts are refused rather than cut, and answers are not padded.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

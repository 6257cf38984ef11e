//! Why a model, a prompt or an answer cannot be used.

/// What went wrong, with its numbers.
#[derive(Debug, thiserror::Error)]
pub enum QwenError {
    /// No tokens.
    #[error("the prompt has no tokens: at least one is needed")]
    EmptyPrompt,
    /// An answer without tokens.
    #[error("an answer has no tokens, or a prompt no answers: at least one of each is needed")]
    EmptyAnswer,
    /// Log-probabilities that do not fit their answers.
    #[error("{got} log-probabilities were given for an answer of {needed} tokens")]
    OldLogp {
        /// Values given.
        got: usize,
        /// Values needed.
        needed: usize,
    },
    /// A token outside the vocabulary.
    #[error(
        "token {id} is outside the vocabulary of {vocabulary}: tokenizer and model do not belong together"
    )]
    Token {
        /// The token.
        id: u32,
        /// Words that the model has.
        vocabulary: usize,
    },
    /// Image tokens for which there is no picture.
    #[error("{run} image tokens from token {at} on belong to no picture ({pictures} were given)")]
    TooManyImageTokens {
        /// Where they begin.
        at: usize,
        /// How many.
        run: usize,
        /// Pictures given.
        pictures: usize,
    },
    /// Fewer image tokens than a picture needs.
    #[error(
        "picture {picture} needs {needed} image tokens, but the prompt has {got} in its place: cut the text, never the picture"
    )]
    CutPicture {
        /// Its number.
        picture: usize,
        /// Tokens that its patches make.
        needed: usize,
        /// Tokens that are there.
        got: usize,
    },
    /// A grid that no picture has.
    #[error(
        "picture {picture}: a grid of {grid:?} patches cannot be merged by {merge} (time must be 1, height and width positive multiples of it below 16384)"
    )]
    Grid {
        /// Its number.
        picture: usize,
        /// Patches along time, height and width.
        grid: [usize; 3],
        /// Patches a side that are merged.
        merge: usize,
    },
    /// Pixels that do not fit their grid.
    #[error("picture {picture}: a grid of {grid:?} patches has {needed} values, got {got}")]
    Pixels {
        /// Its number.
        picture: usize,
        /// Patches along time, height and width.
        grid: [usize; 3],
        /// Values needed.
        needed: usize,
        /// Values given.
        got: usize,
    },
    /// A prompt that leaves no room.
    #[error(
        "a prompt of {prompt} tokens and answers of up to {answer} exceed the {limit} tokens allowed: use a smaller picture (max_pixels) or a shorter answer"
    )]
    TooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Longest answer.
        answer: usize,
        /// Tokens allowed.
        limit: usize,
    },
    /// A setting of the sampler.
    #[error("sampler: {key} = {value} is out of range: {range}")]
    Sampler {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What would be right.
        range: &'static str,
    },
    /// Settings of the adapter with which nothing can learn.
    #[error(
        "lora: rank {rank} (1 to 1024), alpha {alpha}, targets {targets:?}: no layer of the model would learn"
    )]
    Lora {
        /// Rank.
        rank: usize,
        /// Scale times rank.
        alpha: f64,
        /// Parts of names.
        targets: Vec<String>,
    },
    /// A task's pictures.
    #[error(transparent)]
    Draw(#[from] crate::task::draw::DrawError),
    /// Adapter matrices.
    #[error(transparent)]
    Misfit(#[from] super::linear::MisfitError),
    /// The checkpoint's configuration.
    #[error(transparent)]
    Config(#[from] super::config::QwenConfigError),
    /// The checkpoint's weights.
    #[error(transparent)]
    Weights(#[from] super::weights::WeightsError),
    /// An adapter in a folder.
    #[error(transparent)]
    Peft(#[from] super::peft::PeftError),
    /// The tokenizer, a picture or a prompt.
    #[error(transparent)]
    Processor(#[from] super::processor::ProcessorError),
    /// The device gave nothing back.
    #[error("the device failed: {0}")]
    Device(String),
}

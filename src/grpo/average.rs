//! How the terms of single tokens become one loss.

use serde::{Deserialize, Serialize};

use super::batch::TokenBatch;

/// Keeps a division by the number of tokens finite when there are none; as published.
pub(crate) const EPS: f64 = 1e-8;

/// Over what token terms are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// All tokens of the batch alike: sum / tokens (DAPO, Yu et al. 2025, section 3.3). As
    /// published for the five tasks; `dapo` in TRL.
    #[default]
    Token,
    /// Mean over the tokens of each answer, then mean over answers (GRPO; `grpo` in TRL).
    Sequence,
    /// Sum / (answers x longest allowed answer): no answer weighs more for being short
    /// (Dr. GRPO, Liu et al. 2025, section 3.2; `dr_grpo` in TRL).
    DrGrpo,
}

/// What a whole batch holds. Computed once for a batch that is worked through in
/// micro-batches, so that their losses and gradients add up to the whole batch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Answers.
    pub sequences: usize,
    /// Tokens that count.
    pub tokens: usize,
}

impl Totals {
    /// The totals of one batch.
    pub fn of(batch: &TokenBatch<'_>) -> Self {
        Self::of_mask(batch.mask(), batch.tokens())
    }

    /// The totals of a mask `[sequences, tokens]`.
    pub fn of_mask(mask: &[bool], tokens: usize) -> Self {
        Totals {
            sequences: mask.len().checked_div(tokens).unwrap_or(0),
            tokens: mask.iter().filter(|counts| **counts).count(),
        }
    }

    /// The weight of each token of an answer that has `row_tokens` of them.
    pub(crate) fn weight(&self, average: Average, row_tokens: usize, max_tokens: usize) -> f64 {
        match average {
            Average::Token => 1.0 / (self.tokens as f64 + EPS),
            Average::Sequence => 1.0 / ((row_tokens as f64 + EPS) * self.sequences.max(1) as f64),
            Average::DrGrpo => 1.0 / (self.sequences.max(1) as f64 * max_tokens.max(1) as f64),
        }
    }
}

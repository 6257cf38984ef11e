//! The tokens of a batch of answers as plain slices.

/// Slices whose lengths do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {got} values, {expected} are needed ({sequences} answers of {tokens} tokens)")]
pub struct ShapeError {
    /// Which input.
    pub what: &'static str,
    /// How many values it has.
    pub got: usize,
    /// How many it should have.
    pub expected: usize,
    /// Answers in the batch.
    pub sequences: usize,
    /// Tokens of each answer, padding included.
    pub tokens: usize,
}

/// A batch of answers, each padded to the same number of tokens. An answer that is chosen as
/// a whole, as a compact policy does, is one token.
///
/// All slices are `[sequences, tokens]`, row by row. What padding holds does not matter, NaN
/// included: it is never read.
#[derive(Clone, Copy, Debug)]
pub struct TokenBatch<'a> {
    logp: &'a [f64],
    old_logp: &'a [f64],
    ref_logp: &'a [f64],
    mask: &'a [bool],
    tokens: usize,
}

impl<'a> TokenBatch<'a> {
    /// A batch that was sampled by the very policy that now learns from it: the ratio is 1
    /// and the reference is the policy itself.
    ///
    /// `logp`, `mask`: `[sequences, tokens]`.
    ///
    /// # Errors
    /// [`ShapeError`] when the lengths do not fit together.
    pub fn new(logp: &'a [f64], mask: &'a [bool], tokens: usize) -> Result<Self, ShapeError> {
        let batch = TokenBatch { logp, old_logp: logp, ref_logp: logp, mask, tokens };
        let sequences = batch.sequences();
        if tokens == 0 || sequences * tokens != logp.len() {
            let expected = (sequences + 1) * tokens.max(1);
            return Err(ShapeError { what: "logp", got: logp.len(), expected, sequences, tokens });
        }
        batch.fits("mask", mask.len())?;
        Ok(batch)
    }

    /// The log-probabilities under the policy that sampled the answers, `[sequences, tokens]`.
    ///
    /// # Errors
    /// [`ShapeError`] when the length differs.
    pub fn with_old(self, old_logp: &'a [f64]) -> Result<Self, ShapeError> {
        self.fits("old_logp", old_logp.len())?;
        Ok(TokenBatch { old_logp, ..self })
    }

    /// The log-probabilities under the reference policy, `[sequences, tokens]`.
    ///
    /// # Errors
    /// [`ShapeError`] when the length differs.
    pub fn with_reference(self, ref_logp: &'a [f64]) -> Result<Self, ShapeError> {
        self.fits("ref_logp", ref_logp.len())?;
        Ok(TokenBatch { ref_logp, ..self })
    }

    /// How many answers.
    pub fn sequences(&self) -> usize {
        self.logp.len().checked_div(self.tokens).unwrap_or(0)
    }

    /// How many tokens each answer has, padding included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Which tokens count, `[sequences, tokens]`.
    pub fn mask(&self) -> &'a [bool] {
        self.mask
    }

    /// Refuses advantages that are not one for each answer.
    pub(crate) fn check_advantages(&self, advantages: &[f64]) -> Result<(), ShapeError> {
        let (sequences, tokens) = (self.sequences(), self.tokens);
        if advantages.len() == sequences {
            return Ok(());
        }
        let got = advantages.len();
        Err(ShapeError { what: "advantages", got, expected: sequences, sequences, tokens })
    }

    /// The answers one after another.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let width = self.tokens.max(1);
        self.logp
            .chunks_exact(width)
            .zip(self.old_logp.chunks_exact(width))
            .zip(self.ref_logp.chunks_exact(width))
            .zip(self.mask.chunks_exact(width))
            .map(|(((logp, old_logp), ref_logp), mask)| Row { logp, old_logp, ref_logp, mask })
    }

    fn fits(&self, what: &'static str, got: usize) -> Result<(), ShapeError> {
        let expected = self.logp.len();
        if got == expected {
            return Ok(());
        }
        let (sequences, tokens) = (self.sequences(), self.tokens);
        Err(ShapeError { what, got, expected, sequences, tokens })
    }
}

/// One answer of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    logp: &'a [f64],
    old_logp: &'a [f64],
    ref_logp: &'a [f64],
    mask: &'a [bool],
}

/// One token that counts.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    /// Its place in the answer.
    pub at: usize,
    pub logp: f64,
    pub old_logp: f64,
    pub ref_logp: f64,
}

impl Row<'_> {
    /// The tokens that count; padding is passed over unread.
    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        self.logp
            .iter()
            .zip(self.old_logp)
            .zip(self.ref_logp)
            .zip(self.mask)
            .enumerate()
            .filter(|(_, (_, counts))| **counts)
            .map(|(at, (((logp, old_logp), ref_logp), _))| Token {
                at,
                logp: *logp,
                old_logp: *old_logp,
                ref_logp: *ref_logp,
            })
    }

    /// How many tokens count.
    pub fn len(&self) -> usize {
        self.mask.iter().filter(|counts| **counts).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_do_not_fit_are_refused_with_the_numbers() {
        let error = TokenBatch::new(&[0.0; 7], &[true; 7], 3).unwrap_err();
        assert_eq!((error.what, error.got, error.expected), ("logp", 7, 9));
        let error = TokenBatch::new(&[0.0; 6], &[true; 5], 3).unwrap_err();
        assert_eq!((error.what, error.got, error.expected), ("mask", 5, 6));
        assert!(TokenBatch::new(&[0.0; 6], &[true; 6], 0).is_err());
        let batch = TokenBatch::new(&[0.0; 6], &[true; 6], 3).unwrap();
        assert_eq!(batch.with_old(&[0.0; 5]).unwrap_err().what, "old_logp");
        assert_eq!(batch.with_reference(&[0.0; 9]).unwrap_err().what, "ref_logp");
        assert!(batch.check_advantages(&[0.0; 3]).is_err());
        assert_eq!((batch.sequences(), batch.tokens()), (2, 3));
    }
}

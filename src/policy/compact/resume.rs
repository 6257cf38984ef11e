//! A policy's weights and its optimiser's state as bytes, and back, so that learning goes on
//! bit for bit.

use burn::tensor::Bytes;

use super::{CompactError, CompactPolicy, weights};

impl CompactPolicy {
    /// The weights as the bytes of a safetensors file.
    ///
    /// # Errors
    /// When the device does not give them back.
    pub fn weights(&self) -> Result<Vec<u8>, CompactError> {
        Ok(weights::to_bytes(&self.head)?)
    }

    /// A policy like this one with other weights.
    ///
    /// # Errors
    /// When they are damaged or do not fit.
    pub fn with_weights(&self, bytes: &[u8]) -> Result<Self, CompactError> {
        let mut policy = self.frozen();
        policy.head = weights::from_bytes(policy.head, bytes, &self.device)?;
        Ok(policy)
    }

    /// The optimiser's state.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn optimizer_bytes(&self) -> Result<Vec<u8>, CompactError> {
        let bytes = self.optimizer.into_bytes();
        Ok(bytes.map_err(|e| CompactError::Device(e.to_string()))?.to_vec())
    }

    /// Goes on with these weights and this state of the optimiser.
    ///
    /// # Errors
    /// When they are damaged or do not fit.
    pub fn resume(&mut self, weights: &[u8], optimizer: &[u8]) -> Result<(), CompactError> {
        self.head = weights::from_bytes(self.head.clone(), weights, &self.device)?;
        let optimizer = self
            .new_optimizer()
            .from_bytes(Bytes::from_bytes_vec(optimizer.to_vec()))
            .map_err(|e| CompactError::Device(format!("the optimiser's state: {e}")))?;
        self.optimizer = optimizer;
        Ok(())
    }
}

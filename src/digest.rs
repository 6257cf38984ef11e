//! SHA-256 in hexadecimal, for files that belong together.

use sha2::{Digest, Sha256};

/// The SHA-256 of `bytes` as 64 hexadecimal digits.
///
/// ```
/// assert!(spatial_ssrl::digest::hex(b"").starts_with("e3b0c442"));
/// ```
pub fn hex(bytes: &[u8]) -> String {
    text(&Sha256::digest(bytes))
}

/// Bytes of a digest as hexadecimal digits.
pub(crate) fn text(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Recorded bags. Files in, messages out ([`files`] over [`mcap`] and [`db3`]); messages in,
//! frames out ([`BagSource`], with [`topics`], [`message`], [`decode`], [`align`] and
//! [`crate::source::pair`]). Memory does not grow with the bag.

pub mod align;
pub mod channels;
pub mod db3;
pub mod decode;
pub mod extrinsics;
pub mod files;
pub mod mcap;
pub mod message;
pub mod meta;
pub mod probe;
pub mod source;
pub mod storage;
pub mod tlv;
pub mod topics;
pub mod unpack;

pub use source::BagSource;

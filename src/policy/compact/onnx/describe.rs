//! What an exported policy says about itself.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

use super::OnnxError;
use crate::policy::compact::{encoder::EncoderConfig, head::HeadShape, observe::CONTEXT_REACH};

/// The version of the file's form.
pub const FORMAT: u32 = 1;

/// What people read who open the file in a viewer.
pub(super) const DOC: &str = "\
A compact policy of spatial-ssrl: a frozen encoder and the learnt parts of a head that scores \
candidate answers to five spatial questions about a picture.\n\n\
picture: R, G, B from 0 to 255 as 32-bit floats; normalisation is part of the graph. The \
encoder's outputs are feature maps, from which a caller samples the inputs of the head: \
point_features (the point outputs at a point, the mean of the context output within each of \
context_reach cells, column and row in -1..1), borders of patches (border_places places along \
a border) and patch_context (the mean of the context output). The parts share no tensors: give \
one row of zeros to the inputs of a part that is not wanted.\n\n\
farness is in units of log depth, up to one offset a picture. beside and above say how well the \
second border goes on to the right of, or below, the first. patch_says: column, row, upside \
down, mirrored, fills a hole.\n\n\
Not to be used for a safety function.";

const PREFIX: &str = "spatial_ssrl.";

/// The metadata of an exported policy.
///
/// In the file each field is one entry whose key begins with `spatial_ssrl.` and whose value
/// is JSON, strings without their quotes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The version of the file's form, [`FORMAT`].
    pub format: u32,
    /// The crate that wrote it.
    pub version: String,
    /// The ONNX operator set: the encoder's own.
    pub opset: i64,
    /// SHA-256 of the encoder's own ONNX file, hexadecimal.
    pub encoder_sha256: String,
    /// SHA-256 of `weights.safetensors`, hexadecimal.
    pub weights_sha256: String,
    /// How pictures are made for the encoder and what is read from its outputs. `mean` and
    /// `std` are those that the graph itself applies.
    pub encoder: EncoderConfig,
    /// Sizes of the head.
    pub head: HeadShape,
    /// How far the context of a marked point reaches, in cells of the context output.
    pub context_reach: Vec<usize>,
}

impl Description {
    /// A description without its digests.
    pub(super) fn new(encoder: &EncoderConfig, head: &HeadShape) -> Self {
        Description {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            opset: 0,
            encoder_sha256: String::new(),
            weights_sha256: String::new(),
            // Where the encoder lay on this machine is nobody's business.
            encoder: EncoderConfig { path: Default::default(), ..encoder.clone() },
            head: head.clone(),
            context_reach: CONTEXT_REACH.to_vec(),
        }
    }

    /// As entries of an ONNX file, in a fixed order.
    pub(super) fn entries(&self) -> Result<Vec<StringStringEntryProto>, OnnxError> {
        let wrong = |e: serde_json::Error| OnnxError::Description(e.to_string());
        let serde_json::Value::Object(mut fields) = serde_json::to_value(self).map_err(wrong)?
        else {
            return Err(OnnxError::Description("no fields".to_owned()));
        };
        // The encoder is in the file.
        if let Some(serde_json::Value::Object(encoder)) = fields.get_mut("encoder") {
            encoder.shift_remove("path");
        }
        let entry = |(key, value): (String, serde_json::Value)| StringStringEntryProto {
            key: format!("{PREFIX}{key}"),
            value: match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            },
        };
        Ok(fields.into_iter().map(entry).collect())
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`OnnxError::Description`] naming what is missing, not understood or of another version.
    pub fn of(model: &ModelProto) -> Result<Self, OnnxError> {
        let entry = |key: &str| {
            let full = format!("{PREFIX}{key}");
            let found = model.metadata_props.iter().find(|entry| entry.key == full);
            found
                .map(|entry| entry.value.as_str())
                .ok_or_else(|| OnnxError::Description(format!("its metadata have no entry {full}")))
        };
        fn parsed<T: DeserializeOwned>(key: &str, text: &str) -> Result<T, OnnxError> {
            let wrong = |e| OnnxError::Description(format!("metadata entry {PREFIX}{key}: {e}"));
            serde_json::from_str(text).map_err(wrong)
        }
        let format = parsed("format", entry("format")?)?;
        if format != FORMAT {
            return Err(OnnxError::Description(format!(
                "format {format} is not known here (this version reads {FORMAT})"
            )));
        }
        let description = Description {
            format,
            version: entry("version")?.to_owned(),
            opset: parsed("opset", entry("opset")?)?,
            encoder_sha256: entry("encoder_sha256")?.to_owned(),
            weights_sha256: entry("weights_sha256")?.to_owned(),
            encoder: parsed("encoder", entry("encoder")?)?,
            head: parsed("head", entry("head")?)?,
            context_reach: parsed("context_reach", entry("context_reach")?)?,
        };
        if description.context_reach != CONTEXT_REACH {
            return Err(OnnxError::Description(format!(
                "the context of a point reaches {:?} cells, here it reaches {CONTEXT_REACH:?}",
                description.context_reach
            )));
        }
        Ok(description)
    }
}

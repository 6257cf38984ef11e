//! Remembered tasks as bytes: what a policy hands on beside its weights, and the memory
//! part of a checkpoint.
//!
//! Layout: 8 bytes magic; 32 bytes SHA-256 of all that follows; 8 bytes length of the index
//! (little-endian); the index as CBOR; the features as little-endian 16-bit floats. Patches
//! that tasks share are stored once.

use std::{collections::HashMap, sync::Arc};

use half::f16;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::memory::Memory;
use crate::{
    frame::FrameId,
    policy::compact::observe::{Evidence, Observation, PatchFeatures, RingFeatures, SIDES},
    task::{Answer, Question, TaskKind},
};

const MAGIC: &[u8; 8] = b"SSRLTSK1";
const HEAD: usize = 8 + 32 + 8;

/// Why bytes are no remembered tasks.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another kind of file, or another version.
    #[error("these are no remembered tasks of this version ({0} bytes)")]
    Magic(usize),
    /// Damaged or cut off.
    #[error("the remembered tasks are damaged: {0}")]
    Damaged(String),
    /// The index cannot be written.
    #[error("the remembered tasks cannot be written: {0}")]
    Write(String),
}

/// Where in the features, in 16-bit floats.
type Span = (u64, u64);

#[derive(Serialize, Deserialize)]
struct Index {
    patches: Vec<PatchAt>,
    tasks: Vec<TaskAt>,
}

#[derive(Serialize, Deserialize)]
struct PatchAt {
    borders: Span,
    border_channels: usize,
    context: Span,
}

#[derive(Serialize, Deserialize)]
struct TaskAt {
    kind: TaskKind,
    frame_id: FrameId,
    stamp_ns: i64,
    place: u16,
    answer: Answer,
    picture_size: (u32, u32),
    question: Question,
    evidence: EvidenceAt,
}

#[derive(Serialize, Deserialize)]
enum EvidenceAt {
    Patches(Vec<Option<usize>>),
    Hole { ring: Span, open: [bool; SIDES], options: Vec<usize> },
    Points(Vec<Span>),
}

/// Tasks as bytes.
///
/// # Errors
/// [`StoreError::Write`] when the index cannot be encoded.
pub fn to_bytes<'a>(
    tasks: impl IntoIterator<Item = &'a Memory<Observation>>,
) -> Result<Vec<u8>, StoreError> {
    let mut writer = Writer::default();
    let tasks: Vec<TaskAt> = tasks.into_iter().map(|task| writer.task(task)).collect();
    let mut index = Vec::new();
    ciborium::into_writer(&Index { patches: writer.patches, tasks }, &mut index)
        .map_err(|e| StoreError::Write(e.to_string()))?;
    // The features are by far the largest part: they are copied once, to where they stay.
    let mut bytes = Vec::with_capacity(HEAD + index.len() + 2 * writer.length as usize);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&(index.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&index);
    for value in writer.features.into_iter().flatten() {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    let digest = Sha256::digest(&bytes[40..]);
    bytes[8..40].copy_from_slice(&digest);
    Ok(bytes)
}

/// What [`to_bytes`] wrote. Nothing is allocated beyond a small multiple of the bytes given.
///
/// # Errors
/// [`StoreError`] for anything but whole, undamaged bytes.
pub fn from_bytes(bytes: &[u8]) -> Result<Vec<Memory<Observation>>, StoreError> {
    let damaged = |why: &str| StoreError::Damaged(why.to_owned());
    let (Some(head), Some(rest)) = (bytes.get(..HEAD), bytes.get(HEAD..)) else {
        return Err(StoreError::Magic(bytes.len()));
    };
    if !head.starts_with(MAGIC) {
        return Err(StoreError::Magic(bytes.len()));
    }
    if Sha256::digest(&bytes[40..])[..] != head[8..40] {
        return Err(damaged("its SHA-256 is not the one it carries"));
    }
    let length = head[40..].iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let split = usize::try_from(length).ok().filter(|length| *length <= rest.len());
    let (index, features) =
        rest.split_at(split.ok_or_else(|| damaged("the index is longer than the file"))?);
    let index: Index = ciborium::from_reader(index).map_err(|e| damaged(&e.to_string()))?;
    let reader = Reader { features };
    let patches: Vec<Arc<PatchFeatures>> = index
        .patches
        .into_iter()
        .map(|patch| {
            Ok(Arc::new(PatchFeatures {
                borders: reader.halves(patch.borders)?,
                border_channels: patch.border_channels,
                context: reader.halves(patch.context)?,
            }))
        })
        .collect::<Result<_, StoreError>>()?;
    index.tasks.into_iter().map(|task| reader.task(task, &patches)).collect()
}

#[derive(Default)]
struct Writer<'a> {
    patches: Vec<PatchAt>,
    known: HashMap<*const PatchFeatures, usize>,
    features: Vec<&'a [f16]>,
    /// Of all features together.
    length: u64,
}

impl<'a> Writer<'a> {
    fn halves(&mut self, values: &'a [f16]) -> Span {
        let start = self.length;
        self.features.push(values);
        self.length += values.len() as u64;
        (start, values.len() as u64)
    }

    fn patch(&mut self, patch: &'a Arc<PatchFeatures>) -> usize {
        if let Some(known) = self.known.get(&Arc::as_ptr(patch)) {
            return *known;
        }
        let at = PatchAt {
            borders: self.halves(&patch.borders),
            border_channels: patch.border_channels,
            context: self.halves(&patch.context),
        };
        self.patches.push(at);
        self.known.insert(Arc::as_ptr(patch), self.patches.len() - 1);
        self.patches.len() - 1
    }

    fn task(&mut self, task: &'a Memory<Observation>) -> TaskAt {
        let Observation { picture_size, question, evidence } = &task.observation;
        let evidence = match evidence {
            Evidence::Patches(patches) => {
                let at = patches.iter().map(|patch| patch.as_ref().map(|patch| self.patch(patch)));
                EvidenceAt::Patches(at.collect())
            }
            Evidence::Hole { ring, options } => EvidenceAt::Hole {
                ring: self.halves(&ring.borders),
                open: ring.open,
                options: options.iter().map(|patch| self.patch(patch)).collect(),
            },
            Evidence::Points(points) => {
                EvidenceAt::Points(points.iter().map(|point| self.halves(point)).collect())
            }
        };
        TaskAt {
            kind: task.kind.clone(),
            frame_id: task.frame_id,
            stamp_ns: task.stamp_ns,
            place: task.place,
            answer: task.answer.clone(),
            picture_size: *picture_size,
            question: question.clone(),
            evidence,
        }
    }
}

struct Reader<'a> {
    features: &'a [u8],
}

impl Reader<'_> {
    fn halves(&self, (start, length): Span) -> Result<Vec<f16>, StoreError> {
        let range = || {
            let start = usize::try_from(start).ok()?.checked_mul(2)?;
            let end = usize::try_from(length).ok()?.checked_mul(2)?.checked_add(start)?;
            self.features.get(start..end)
        };
        let bytes = range().ok_or_else(|| {
            StoreError::Damaged(format!("features {start} + {length} lie beyond the end"))
        })?;
        Ok(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect())
    }

    fn task(
        &self,
        task: TaskAt,
        patches: &[Arc<PatchFeatures>],
    ) -> Result<Memory<Observation>, StoreError> {
        let patch = |at: usize| {
            let patch = patches.get(at).cloned();
            patch.ok_or_else(|| StoreError::Damaged(format!("there is no patch {at}")))
        };
        let evidence = match task.evidence {
            EvidenceAt::Patches(at) => {
                let at = at.into_iter().map(|at| at.map(patch).transpose());
                Evidence::Patches(at.collect::<Result<_, _>>()?)
            }
            EvidenceAt::Hole { ring, open, options } => Evidence::Hole {
                ring: RingFeatures { borders: self.halves(ring)?, open },
                options: options.into_iter().map(patch).collect::<Result<_, _>>()?,
            },
            EvidenceAt::Points(spans) => Evidence::Points(
                spans.into_iter().map(|span| self.halves(span)).collect::<Result<_, _>>()?,
            ),
        };
        Ok(Memory {
            kind: task.kind,
            frame_id: task.frame_id,
            stamp_ns: task.stamp_ns,
            place: task.place,
            answer: task.answer,
            observation: Observation {
                picture_size: task.picture_size,
                question: task.question,
                evidence,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Pixel;

    fn tasks() -> Vec<Memory<Observation>> {
        let halves = |n: usize| (0..n).map(|i| f16::from_f32(i as f32 * 0.5)).collect::<Vec<_>>();
        let patch =
            Arc::new(PatchFeatures { borders: halves(8), border_channels: 2, context: halves(3) });
        let memory = |kind, question, answer, evidence| Memory {
            kind,
            frame_id: FrameId(7),
            stamp_ns: -5,
            place: 3,
            answer,
            observation: Observation { picture_size: (64, 48), question, evidence },
        };
        vec![
            memory(
                TaskKind::Flip,
                Question::FindFlip { rows: 1, cols: 2 },
                Answer::Choice(1),
                Evidence::Patches(vec![Some(patch.clone()), None, Some(patch.clone())]),
            ),
            memory(
                TaskKind::Depth,
                Question::OrderPoints { points: [Pixel { x: 1, y: 2 }].into_iter().collect() },
                Answer::Choice(0),
                Evidence::Points(vec![halves(5), halves(4)]),
            ),
        ]
    }

    #[test]
    fn tasks_come_back_as_they_were_and_shared_patches_are_stored_once() {
        let tasks = tasks();
        let bytes = to_bytes(&tasks).unwrap();
        let back = from_bytes(&bytes).unwrap();
        for (task, back) in tasks.iter().zip(&back) {
            assert_eq!(
                (&task.kind, task.frame_id, task.stamp_ns),
                (&back.kind, back.frame_id, back.stamp_ns)
            );
            assert_eq!((task.place, &task.answer), (back.place, &back.answer));
            assert_eq!(task.observation.question, back.observation.question);
            assert_eq!(task.observation.evidence, back.observation.evidence);
        }
        let Evidence::Patches(patches) = &back[0].observation.evidence else { panic!() };
        assert!(Arc::ptr_eq(patches[0].as_ref().unwrap(), patches[2].as_ref().unwrap()));
        assert_eq!(to_bytes(&back).unwrap(), bytes);
    }

    #[test]
    fn any_damage_is_an_error_and_never_a_panic() {
        let bytes = to_bytes(&tasks()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(from_bytes(&damaged).is_err(), "byte {at}");
            assert!(from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
        // A right hash over a wrong index.
        let mut forged = bytes.clone();
        forged[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        let digest = Sha256::digest(&forged[40..]);
        forged[8..40].copy_from_slice(&digest);
        assert!(from_bytes(&forged).unwrap_err().to_string().contains("longer"));
    }
}

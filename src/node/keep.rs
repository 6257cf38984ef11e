//! The messages of frames that taught something, into the recording.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    ingest::picture::Picture,
    learning::Taught,
    record::{RecordCounts, RecordError, Recorder, Ring, RingLimits, Sample, When},
    settings::RecordSettings,
};

/// A recording that is opened when its first frame comes.
pub struct Keep {
    settings: RecordSettings,
    when: When,
    recorder: Option<Recorder>,
    refused: Option<String>,
}

/// Shared by the learner, which records, and by whoever counts.
pub type SharedKeep = Arc<Mutex<Keep>>;

/// The recording, whole also after a thread panicked beside it.
pub fn locked(keep: &SharedKeep) -> MutexGuard<'_, Keep> {
    keep.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sample(topic: &str, picture: &Picture) -> Result<Sample, RecordError> {
    match picture {
        Picture::Raw(image) => Sample::of(topic, image),
        Picture::Compressed(image) => Sample::of(topic, image),
    }
}

impl Keep {
    /// Into the folder and within the limits of these settings.
    pub fn new(settings: RecordSettings, when: When) -> Self {
        Keep { settings, when, recorder: None, refused: None }
    }

    /// Changes when frames are kept.
    pub fn set_when(&mut self, when: When) {
        self.when = when;
        if let Some(recorder) = &mut self.recorder {
            recorder.set_when(when);
        }
    }

    /// Keeps the messages of a frame, if it is to be kept.
    pub fn offer(&mut self, taught: &Taught<'_>) {
        if self.when == When::Never || self.refused.is_some() {
            return;
        }
        let now = Instant::now();
        let recorder = match &mut self.recorder {
            Some(recorder) => recorder,
            empty => {
                let limits = RingLimits {
                    max_bytes: self.settings.max_bytes,
                    file_bytes: self.settings.file_bytes,
                    disk_floor_bytes: self.settings.disk_floor_bytes,
                };
                match Ring::open(&self.settings.directory, limits) {
                    Ok(ring) => empty.insert(Recorder::new(ring, self.when)),
                    Err(error) => {
                        tracing::error!("nothing is recorded: {error}");
                        self.refused = Some(error.name().to_owned());
                        return;
                    }
                }
            }
        };
        if taught.drifting {
            recorder.drift_seen(now);
        }
        if !recorder.wants(now) {
            return;
        }
        let written = samples(taught)
            .and_then(|samples| recorder.offer(taught.pair.color.arrived_ns, &samples));
        if let Err(error) = written {
            tracing::warn!("a frame is not recorded: {error}");
        }
    }

    /// What was kept.
    pub fn counts(&self) -> RecordCounts {
        let mut counts = self.recorder.as_ref().map(Recorder::counts).unwrap_or_default();
        if let Some(why) = &self.refused {
            counts.not_recorded.add(why);
        }
        counts
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.close()
        {
            tracing::error!("the recording is not closed: {error}");
        }
    }
}

fn samples(taught: &Taught<'_>) -> Result<Vec<Sample>, RecordError> {
    let (pair, topics) = (taught.pair, taught.topics);
    let mut samples = vec![sample(&topics.color, &pair.color.picture)?];
    if let (Some(topic), Some((_, depth))) = (&topics.depth, &pair.depth) {
        samples.push(sample(topic, &depth.picture)?);
    }
    let infos = [&topics.info, &topics.depth_info].into_iter().zip(taught.infos);
    for (topic, info) in infos {
        if let (Some(topic), Some(info)) = (topic, info) {
            samples.push(Sample::of(topic, info)?);
        }
    }
    Ok(samples)
}

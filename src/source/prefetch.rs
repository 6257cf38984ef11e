//! Reads ahead on a thread of its own, so that decoding the next frames overlaps with
//! whatever is done with this one. Order and reports are the same as without it.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::JoinHandle,
};

use super::{FrameSource, SourceError, SourceReport};
use crate::frame::RgbdFrame;

/// Frames that may wait; one more is being decoded. A 4K frame takes 58 MB.
const AHEAD: usize = 3;

type Step = (Result<Option<RgbdFrame>, SourceError>, SourceReport);

/// A source that is read ahead.
pub struct Prefetch {
    steps: Option<Receiver<Step>>,
    thread: Option<JoinHandle<()>>,
    report: SourceReport,
}

impl Prefetch {
    /// Starts reading `source` ahead.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut source: Box<dyn FrameSource>) -> std::io::Result<Self> {
        let report = source.report().clone();
        let (sender, steps) = sync_channel(AHEAD);
        let thread =
            std::thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
                loop {
                    let step = source.next_frame();
                    let goes_on = matches!(step, Ok(Some(_)));
                    // An error: nobody wants more.
                    if sender.send((step, source.report().clone())).is_err() || !goes_on {
                        return;
                    }
                }
            })?;
        Ok(Prefetch { steps: Some(steps), thread: Some(thread), report })
    }
}

impl FrameSource for Prefetch {
    fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
        let Some(steps) = &self.steps else { return Ok(None) };
        match steps.recv() {
            Ok((step, report)) => {
                self.report = report;
                if !matches!(step, Ok(Some(_))) {
                    self.steps = None;
                }
                step
            }
            Err(_) => {
                // The thread is gone without a last word: a decoder panicked.
                self.steps = None;
                self.report.lost.add("reader_failed");
                Ok(None)
            }
        }
    }

    fn report(&self) -> &SourceReport {
        &self.report
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        // Closes the channel, which ends the thread at its next frame.
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameId, Registration};

    struct Counter(i64, SourceReport, Option<i64>);

    impl FrameSource for Counter {
        fn next_frame(&mut self) -> Result<Option<RgbdFrame>, SourceError> {
            assert_ne!(Some(self.0), self.2, "a decoder's panic, wanted by the test");
            if self.0 == 20 {
                return Ok(None);
            }
            self.0 += 1;
            self.1.frames += 1;
            Ok(Some(RgbdFrame {
                id: FrameId::from_stamp(self.0),
                stamp_ns: self.0,
                depth_stamp_ns: None,
                color: image::RgbImage::new(1, 1),
                depth_m: None,
                intrinsics: None,
                registration: Registration::Registered,
            }))
        }

        fn report(&self) -> &SourceReport {
            &self.1
        }
    }

    fn read_all(source: &mut dyn FrameSource) -> Vec<(i64, u64)> {
        let mut got = Vec::new();
        while let Some(frame) = source.next_frame().unwrap() {
            got.push((frame.stamp_ns, source.report().frames));
        }
        got
    }

    #[test]
    fn order_and_reports_are_as_without_it() {
        let plain = read_all(&mut Counter(0, SourceReport::default(), None));
        let counter = Box::new(Counter(0, SourceReport::default(), None));
        let mut ahead = Prefetch::start(counter).unwrap();
        assert_eq!(read_all(&mut ahead), plain);
        assert!(ahead.next_frame().unwrap().is_none());
    }

    #[test]
    fn it_ends_when_nobody_reads_on_and_a_panic_inside_is_counted_as_loss() {
        let counter = Box::new(Counter(0, SourceReport::default(), None));
        drop(Prefetch::start(counter).unwrap());
        let counter = Box::new(Counter(0, SourceReport::default(), Some(7)));
        let mut ahead = Prefetch::start(counter).unwrap();
        assert_eq!(read_all(&mut ahead).len(), 7);
        assert_eq!(ahead.report().lost.get("reader_failed"), 1);
    }
}

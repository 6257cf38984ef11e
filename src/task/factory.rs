//! Which tasks are made from a frame.

use std::{fmt, sync::Arc};

use super::{
    PreparedFrame, Preset, Skip, Task, TaskKind, TaskSource, depth_order::DepthOrder, flip::Flip,
    inpaint::Inpaint, position::Position, reorder::Reorder, seed,
};
use crate::tally::Tally;

/// The task sources in use: the built-in ones under one preset, and a user's own.
///
/// ```
/// use spatial_ssrl::task::{Preset, TaskSet};
/// let set = TaskSet::new(Preset::Balanced).only(&["flip", "reorder"])?;
/// let names: Vec<String> = set.kinds().map(|kind| kind.to_string()).collect();
/// assert_eq!(names, ["reorder", "flip"]);
/// let error = TaskSet::default().only(&["flipp"]).unwrap_err();
/// assert!(error.to_string().contains("did you mean \"flip\""));
/// # Ok::<(), spatial_ssrl::task::factory::UnknownKind>(())
/// ```
#[derive(Clone)]
pub struct TaskSet {
    /// Which rules make the built-in tasks.
    pub preset: Preset,
    sources: Vec<Arc<dyn TaskSource>>,
}

/// A kind that no source of a set makes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no task kind {name:?}; {}known kinds: {}", hint(nearest), known.join(", "))]
pub struct UnknownKind {
    /// The name as given.
    pub name: String,
    /// The known name that is nearest to it.
    pub nearest: Option<String>,
    /// All known names.
    pub known: Vec<String>,
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("did you mean {name:?}? "))
}

impl Default for TaskSet {
    /// All built-in kinds, balanced.
    fn default() -> Self {
        TaskSet::new(Preset::default())
    }
}

impl fmt::Debug for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.kinds().collect();
        f.debug_struct("TaskSet").field("preset", &self.preset).field("kinds", &kinds).finish()
    }
}

impl TaskSet {
    /// All built-in kinds under these rules.
    pub fn new(preset: Preset) -> Self {
        let sources = TaskKind::BUILTIN.iter().filter_map(|kind| built_in(kind, preset)).collect();
        TaskSet { preset, sources }
    }

    /// Adds a source; it takes the place of one that makes the same kind.
    #[must_use]
    pub fn with(mut self, source: Arc<dyn TaskSource>) -> Self {
        let kind = source.kind();
        match self.sources.iter_mut().find(|old| old.kind() == kind) {
            Some(old) => *old = source,
            None => self.sources.push(source),
        }
        self
    }

    /// Keeps the named kinds only, in the set's own order.
    ///
    /// # Errors
    /// [`UnknownKind`] for a name that no source here makes.
    pub fn only<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self, UnknownKind> {
        for name in names {
            self.find_name(name.as_ref())?;
        }
        self.sources
            .retain(|source| names.iter().any(|name| name.as_ref() == source.kind().name()));
        Ok(self)
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`UnknownKind`], with the nearest known name.
    pub fn find_name(&self, name: &str) -> Result<TaskKind, UnknownKind> {
        if let Some(kind) = self.kinds().find(|kind| kind.name() == name) {
            return Ok(kind);
        }
        let known: Vec<String> = self.kinds().map(|kind| kind.name().to_owned()).collect();
        let nearest = known
            .iter()
            .map(|known| (strsim::jaro_winkler(known, name), known))
            .filter(|(likeness, _)| *likeness > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone());
        Err(UnknownKind { name: name.to_owned(), nearest, known })
    }

    /// The kinds in use, in the order in which tables show them.
    pub fn kinds(&self) -> impl Iterator<Item = TaskKind> {
        self.sources.iter().map(|source| source.kind())
    }

    /// The `number`-th task of `kind` that this frame makes in the run of that seed. The
    /// same arguments always give the same task, on any thread.
    ///
    /// # Errors
    /// Why there is no such task: the source's own reason, `kind_not_in_set`, or, for a
    /// user's own source, `answer_not_among_candidates`.
    pub fn make(
        &self,
        frame: &PreparedFrame<'_>,
        kind: &TaskKind,
        run_seed: u64,
        number: u64,
    ) -> Result<Task, Skip> {
        let source = self
            .sources
            .iter()
            .find(|source| source.kind() == *kind)
            .ok_or(Skip::Custom("kind_not_in_set"))?;
        let task = source.make(frame, seed::task_seed(run_seed, frame.frame().id, kind, number))?;
        if task.answer_index().is_none() {
            return Err(Skip::Custom("answer_not_among_candidates"));
        }
        Ok(task)
    }

    /// `per_kind` tasks of every kind from one frame, kind by kind. What is skipped is
    /// counted in `skipped` by its reason.
    pub fn make_all(
        &self,
        frame: &PreparedFrame<'_>,
        per_kind: u64,
        run_seed: u64,
        skipped: &mut Tally,
    ) -> Vec<Task> {
        let mut tasks = Vec::new();
        for kind in self.kinds() {
            for number in 0..per_kind {
                match self.make(frame, &kind, run_seed, number) {
                    Ok(task) => tasks.push(task),
                    Err(skip) => skipped.add(skip.name()),
                }
            }
        }
        tasks
    }
}

fn built_in(kind: &TaskKind, preset: Preset) -> Option<Arc<dyn TaskSource>> {
    match kind {
        TaskKind::Reorder => Some(Arc::new(Reorder::new(preset))),
        TaskKind::Flip => Some(Arc::new(Flip::new(preset))),
        TaskKind::Inpaint => Some(Arc::new(Inpaint::new(preset))),
        TaskKind::Depth => Some(Arc::new(DepthOrder::new(preset))),
        TaskKind::Position => Some(Arc::new(Position::new(preset))),
        TaskKind::Custom(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::SensorModel,
        task::{
            Answer, Label, Pixel, Question, Recipe,
            alike::test_frames::{flat, textured},
        },
    };

    struct Own(Answer);

    impl TaskSource for Own {
        fn kind(&self) -> TaskKind {
            TaskKind::Custom(Label::try_from("own").unwrap())
        }

        fn make(&self, frame: &PreparedFrame<'_>, seed: u64) -> Result<Task, Skip> {
            let frame = frame.frame();
            Ok(Task {
                kind: self.kind(),
                frame_id: frame.id,
                stamp_ns: frame.stamp_ns,
                picture_size: frame.color.dimensions(),
                seed,
                preset: Preset::Balanced,
                question: Question::OrderPoints {
                    points: [Pixel { x: 1, y: 2 }, Pixel { x: 30, y: 40 }].into_iter().collect(),
                },
                answer: self.0.clone(),
                recipe: Recipe::Whole,
            })
        }
    }

    #[test]
    fn the_same_frame_and_seed_give_the_same_tasks_on_any_thread() {
        let set = TaskSet::default();
        let frame = textured(8, 120, 90);
        let make = || {
            let prepared = PreparedFrame::new(&frame, SensorModel::default());
            set.make_all(&prepared, 40, 5, &mut Tally::default())
        };
        let here = make();
        assert!(here.len() >= 100);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), here);
            }
        });
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let backwards = set.make(&prepared, &TaskKind::Flip, 5, 39).unwrap();
        assert!(here.contains(&backwards), "the order of making does not matter");
        let other = set.make_all(&prepared, 40, 6, &mut Tally::default());
        assert_ne!(here, other);
    }

    #[test]
    fn what_is_skipped_is_counted_by_reason() {
        let frame = flat(1, 255, 0, 100, 100);
        let mut skipped = Tally::default();
        let set = TaskSet::default().only(&["reorder", "flip", "inpaint"]).unwrap();
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        assert!(set.make_all(&prepared, 7, 1, &mut skipped).is_empty());
        assert_eq!(skipped.get("patches_alike"), 21);
    }

    #[test]
    fn a_users_own_kind_takes_part_and_a_wrong_answer_of_it_is_caught() {
        let frame = textured(1, 64, 64);
        let prepared = PreparedFrame::new(&frame, SensorModel::default());
        let order = |places: &[u8]| Answer::Order(places.iter().copied().collect());
        let set = TaskSet::default().with(Arc::new(Own(order(&[1, 0]))));
        let kind = set.find_name("own").unwrap();
        let task = set.make(&prepared, &kind, 1, 0).unwrap();
        assert_eq!((task.answer_index(), task.question.chance()), (Some(1), 0.5));

        let set = set.with(Arc::new(Own(order(&[2, 0]))));
        assert_eq!(set.kinds().filter(|k| *k == kind).count(), 1, "the newer one replaces");
        let skip = set.make(&prepared, &kind, 1, 0).unwrap_err();
        assert_eq!(skip.name(), "answer_not_among_candidates");
        let skip = TaskSet::default().make(&prepared, &kind, 1, 0).unwrap_err();
        assert_eq!(skip.name(), "kind_not_in_set");
    }

    #[test]
    fn unknown_kinds_are_refused_with_the_nearest_name() {
        let error = TaskSet::default().only(&["flip", "inpant"]).unwrap_err();
        assert_eq!(error.nearest.as_deref(), Some("inpaint"));
        assert!(error.to_string().contains("reorder, flip, inpaint"), "{error}");
        let error = TaskSet::default().only(&["zzz"]).unwrap_err();
        assert_eq!(error.nearest, None);
    }
}

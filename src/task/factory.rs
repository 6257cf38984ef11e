//! Which tasks are made from a frame.

use super::*;
/// The task sources in use and their settings.
pub struct TaskSet {
    sources: Vec<std::sync::Arc<dyn TaskSource>>,
}
impl TaskSet {
    /// x
    pub fn new(preset: Preset) -> Self {
        TaskSet { sources: vec![std::sync::Arc::new(reorder::Reorder::new(preset)), std::sync::Arc::new(flip::Flip::new(preset)), std::sync::Arc::new(inpaint::Inpaint::new(preset))] }
    }
    /// x
    pub fn kinds(&self) -> Vec<TaskKind> { self.sources.iter().map(|s| s.kind()).collect() }
    /// x
    pub fn make(&self, p: &PreparedFrame<'_>, kind: &TaskKind, run_seed: u64, number: u64) -> Result<Task, Skip> {
        let s = self.sources.iter().find(|s| s.kind() == *kind).ok_or(Skip::Custom("no_source"))?;
        s.make(p, seed::task_seed(run_seed, p.frame().id, kind, number))
    }
}

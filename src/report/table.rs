//! Results of a run as a table for people.

use std::fmt::Write;

use crate::{
    adapt::{
        replay::{FrameCounts, Summary},
        score::{Score, Scores},
    },
    tally::Tally,
    task::TaskKind,
};

/// Built-in kinds in their usual order, then a user's own.
pub(super) fn in_order(scores: &Scores) -> impl Iterator<Item = (&TaskKind, &Score)> {
    let own = scores.iter().filter(|(kind, _)| !TaskKind::BUILTIN.contains(kind));
    TaskKind::BUILTIN.iter().filter_map(|kind| scores.get_key_value(kind)).chain(own)
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.1}", 100.0 * part)
}

pub(super) fn interval((low, high): (f64, f64)) -> String {
    format!("{:.1} .. {:.1}", 100.0 * low, 100.0 * high)
}

pub(super) fn counts(tally: &Tally) -> String {
    let counts: Vec<String> = tally.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    counts.join(", ")
}

/// The outcome of `adapt`: held-out accuracy before and after, and what went into it.
pub fn adapted(summary: &Summary, unpaired: &Tally, lost: &Tally) -> String {
    let mut out = String::new();
    let preset = format!("{:?}", summary.preset).to_lowercase();
    line(
        &mut out,
        format!(
            "{}, seed {}, {preset} tasks; held-out accuracy in %",
            summary.source, summary.seed
        ),
    );
    line(
        &mut out,
        format!(
            "\n{:<10} {:>6} {:>8} {:>8}   {:<14} {:>7} {:>6}",
            "kind", "tasks", "before", "after", "95 %", "chance", "blind"
        ),
    );
    for (kind, after) in in_order(&summary.after) {
        let before = summary.before.get(kind).map_or(0.0, |score| score.accuracy);
        line(
            &mut out,
            format!(
                "{:<10} {:>6} {:>8} {:>8}   {:<14} {:>7} {:>6}",
                kind.name(),
                after.n,
                percent(before),
                percent(after.accuracy),
                interval(after.ci95),
                percent(after.chance),
                percent(after.blind)
            ),
        );
    }
    line(
        &mut out,
        format!(
            "{:<10} {:>6} {:>8} {:>8}",
            "mean",
            "",
            percent(summary.mean_before),
            percent(summary.mean_after)
        ),
    );
    let (frames, tasks) = (&summary.frames, (&summary.tasks, &summary.tasks_skipped));
    went_in(&mut out, frames, tasks, unpaired, lost);
    line(&mut out, format!("updates   {} applied", summary.updates.applied));
    if !summary.updates.skipped.is_empty() {
        line(&mut out, format!("  skipped {}", counts(&summary.updates.skipped)));
    }
    let candidates = &summary.candidates;
    let rejected = match candidates.rejected.is_empty() {
        true => String::new(),
        false => format!(", rejected {}", counts(&candidates.rejected)),
    };
    line(
        &mut out,
        format!("promoted  {}{rejected}; version {} serves", candidates.promoted, summary.version),
    );
    if !candidates.alarms.is_empty() {
        line(&mut out, format!("  alarms {}", counts(&candidates.alarms)));
    }
    if summary.checkpoints.failed > 0 {
        line(&mut out, format!("  CHECKPOINTS NOT WRITTEN {}", summary.checkpoints.failed));
    }
    let time = &summary.wall_seconds;
    line(
        &mut out,
        format!(
            "time      {:.0} s: tasks {:.0}, encoding {:.0}, rollouts {:.0}, updates {:.0}; peak memory {} MiB",
            time.total,
            time.build_tasks,
            time.encode,
            time.rollout,
            time.update,
            summary.peak_rss_bytes >> 20
        ),
    );
    out
}

/// What frames and tasks became of a recording.
pub(super) fn went_in(
    out: &mut String,
    frames: &FrameCounts,
    (tasks, not_made): (&Tally, &Tally),
    unpaired: &Tally,
    lost: &Tally,
) {
    line(out, format!("\nframes    {} read, {} used", frames.read, frames.used));
    for (what, tally) in [
        ("  skipped ", &frames.skipped),
        ("  colour only ", &frames.color_only),
        ("  unpaired ", unpaired),
        ("  LOST ", lost),
    ] {
        if !tally.is_empty() {
            line(out, format!("{what}{}", counts(tally)));
        }
    }
    if frames.depth_moved > 0 {
        line(out, format!("  depth moved to where its edges meet colour's {}", frames.depth_moved));
    }
    line(out, format!("tasks     {}", counts(tasks)));
    if !not_made.is_empty() {
        line(out, format!("  not made {}", counts(not_made)));
    }
}

/// The outcome of `eval`.
pub fn evaluated(source: &str, scores: &Scores, mean: f64) -> String {
    let mut out = String::new();
    line(&mut out, format!("{source}; accuracy in %\n"));
    line(
        &mut out,
        format!(
            "{:<10} {:>6} {:>9}   {:<14} {:>7} {:>6}",
            "kind", "tasks", "accuracy", "95 %", "chance", "blind"
        ),
    );
    for (kind, score) in in_order(scores) {
        line(
            &mut out,
            format!(
                "{:<10} {:>6} {:>9}   {:<14} {:>7} {:>6}",
                kind.name(),
                score.n,
                percent(score.accuracy),
                interval(score.ci95),
                percent(score.chance),
                percent(score.blind)
            ),
        );
    }
    line(&mut out, format!("{:<10} {:>6} {:>9}", "mean", "", percent(mean)));
    out
}

pub(super) fn line(out: &mut String, text: String) {
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{text}");
}

//! Results of a run with a policy in words as a table for people.

use super::table::{counts, in_order, interval, line, percent, went_in};
use crate::{
    adapt::{score::Score, words::WordsSummary},
    tally::Tally,
    task::TaskKind,
};

/// The outcome of `adapt`: held-out accuracy before and after, and what went into it. What was
/// not tested stands as a dash.
pub fn adapted(summary: &WordsSummary, unpaired: &Tally, lost: &Tally) -> String {
    let mut out = String::new();
    let preset = format!("{:?}", summary.preset).to_lowercase();
    let (source, seed) = (&summary.source, summary.seed);
    line(&mut out, format!("{source}, seed {seed}, {preset} tasks; held-out accuracy in %"));
    let [kind, tasks, before, after] = ["kind", "tasks", "before", "after"];
    let [interval_95, chance, blind] = ["95 %", "chance", "blind"];
    line(
        &mut out,
        format!(
            "\n{kind:<10} {tasks:>6} {before:>8} {after:>8}   {interval_95:<14} {chance:>7} {blind:>6}"
        ),
    );
    let dash = || "-".to_owned();
    let of = |scores: &Option<_>, kind: &TaskKind| -> Option<Score> {
        let scores: &crate::adapt::score::Scores = scores.as_ref()?;
        scores.get(kind).copied()
    };
    let told = summary.after.as_ref().or(summary.before.as_ref());
    for (kind, score) in told.into_iter().flat_map(in_order) {
        let (before, after) = (of(&summary.before, kind), of(&summary.after, kind));
        let accuracy = |score: Option<Score>| score.map_or_else(dash, |s| percent(s.accuracy));
        line(
            &mut out,
            format!(
                "{:<10} {:>6} {:>8} {:>8}   {:<14} {:>7} {:>6}",
                kind.name(),
                score.n,
                accuracy(before),
                accuracy(after),
                after.map_or_else(dash, |s| interval(s.ci95)),
                percent(score.chance),
                percent(score.blind)
            ),
        );
    }
    let mean = |mean: Option<f64>| mean.map_or_else(dash, percent);
    line(
        &mut out,
        format!(
            "{:<10} {:>6} {:>8} {:>8}",
            "mean",
            "",
            mean(summary.mean_before),
            mean(summary.mean_after)
        ),
    );
    if let Some(by) = summary.promoted {
        line(&mut out, format!("promoted  the mean rose by {} points, no kind fell", percent(by)));
    }
    if let Some(why) = &summary.rejected {
        line(
            &mut out,
            format!("rejected  {why}: the adapter is kept, but what it began with may be better"),
        );
    }
    if summary.after.is_none() {
        line(&mut out, "stopped: what was learnt is kept, `eval` tests it".to_owned());
    }
    let tasks = (&summary.tasks, &summary.tasks_skipped);
    went_in(&mut out, &summary.frames, tasks, unpaired, lost);
    let cold = &summary.cold_start;
    let losses = match (cold.first_loss, cold.last_loss) {
        (Some(first), Some(last)) => format!(", loss {first:.2} -> {last:.2} nats a token"),
        _ => String::new(),
    };
    line(&mut out, format!("taught    {} steps{losses}", cold.applied));
    if !cold.skipped.is_empty() {
        line(&mut out, format!("  skipped {}", counts(&cold.skipped)));
    }
    let rewards = match (summary.first_reward, summary.last_reward) {
        (Some(first), Some(last)) => {
            format!(", reward {first:.3} -> {last:.3} (first and last tenth)")
        }
        _ => String::new(),
    };
    line(&mut out, format!("updates   {} applied{rewards}", summary.updates.applied));
    if !summary.updates.skipped.is_empty() {
        line(&mut out, format!("  skipped {}", counts(&summary.updates.skipped)));
    }
    let time = &summary.wall_seconds;
    line(
        &mut out,
        format!(
            "time      {:.0} s: tasks {:.0}, tests {:.0}, cold start {:.0}, rollouts {:.0}, updates {:.0}; peak memory {} MiB",
            time.total,
            time.draw,
            time.test,
            time.cold_start,
            time.rollout,
            time.update,
            summary.peak_rss_bytes >> 20
        ),
    );
    out
}

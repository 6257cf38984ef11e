//! From what frames say to findings.

use super::{
    Checker, Discriminant, Fault, Finding, Likely, Reference, Signs, Spread, Turned, planes,
};
use crate::frame::align::Alignment;

/// Above this probability a fault is likely, below one minus it unlikely.
const SURE: f64 = 0.9;
/// Ways to lay depth over colour must move the picture's edge by this part of its width to count
/// as moved.
const LEAST_MOVE: f64 = 0.012;
/// A discriminant whose two kinds lie closer, in standard deviations, is not asked.
const LEAST_APART: f64 = 1.5;
/// Depths whose middle lies outside are in another unit, metres.
const USUAL_DEPTH_M: std::ops::Range<f64> = 0.15..15.0;

fn finding(fault: Fault, probability: f64, evidence: String) -> Finding {
    let (likely, confidence) = match probability {
        p if p >= SURE => (Likely::Yes, p),
        p if p <= 1.0 - SURE => (Likely::No, 1.0 - p),
        _ => (Likely::CannotTell, 0.5),
    };
    // No rule here was tried on so many cameras that more could be said.
    Finding { fault, likely, confidence: confidence.min(0.99), evidence }
}

fn cannot_tell(fault: Fault, why: impl Into<String>) -> Finding {
    finding(fault, 0.5, why.into())
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// The probability that a normal deviate lies below `z` (Abramowitz and Stegun 7.1.26).
fn normal(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = poly.iter().fold(0.0, |sum, c| (sum + c) * t) * (-x * x).exp() / 2.0;
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// Log-odds that a mean belongs to frames like the reference and not to frames for which the
/// same measure has the other sign (Fisher's discriminant for two normals of equal spread).
fn sign_odds(seen: &Spread, usual: f64, deviation: f64) -> f64 {
    let deviation = deviation.max(seen.deviation).max(usual.abs() / 3.0);
    (2.0 * seen.mean * usual / deviation.powi(2)).clamp(-7.0, 7.0)
}

impl Checker<'_> {
    pub(super) fn finding(&self, fault: Fault, reference: Option<&Reference>) -> Finding {
        if self.signs.is_empty() {
            return cannot_tell(fault, "no frame was looked at");
        }
        match fault {
            Fault::UpsideDown => self.upside_down(reference),
            Fault::Mirrored => self.mirrored(reference),
            Fault::ColourSwapped => self.colour_swapped(reference),
            Fault::DepthOffset => self.depth_offset(),
            Fault::DepthScaled => self.depth_scaled(reference),
            Fault::DepthUnregistered => self.unregistered(),
            Fault::Unfamiliar => self.unfamiliar(reference),
        }
    }

    fn spread(&self, value: impl Fn(&Signs) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.signs.iter().filter_map(value))
    }

    fn upside_down(&self, reference: Option<&Reference>) -> Finding {
        let fault = Fault::UpsideDown;
        if let Some(found) = self.colour_turned(fault, Turned::UpsideDown) {
            return found;
        }
        let Some(seen) = self.spread(|signs| Some(signs.upright)) else {
            return cannot_tell(fault, "no frame was looked at");
        };
        // Measured with `builtin` in 14 real places that it had never seen: places, not frames of
        // one place, differ by that much.
        let (usual, deviation) =
            reference.map_or((0.2, 0.9), |r| (r.upright.mean, r.upright.deviation.max(0.8)));
        let mut odds = sign_odds(&seen, usual, deviation);
        let between = match seen.frames {
            0 | 1 => String::new(),
            _ => format!(" (+- {:.1} between frames)", seen.deviation),
        };
        let mut evidence = format!(
            "by look and farness frames are upright with log-odds {:+.1}{between}, {usual:+.1} is \
             usual",
            seen.mean
        );
        if let Some(depth) = self.spread(|signs| signs.upper_farther) {
            // In 15 real places upright depth had 0.7 +- 0.65; a shelf had -0.6.
            odds += (2.0 * depth.mean).clamp(-2.0, 2.0);
            let times = depth.mean.exp();
            evidence +=
                &format!("; by depth the upper edge is {times:.2} times as far as the lower");
        }
        if let Some((own, told)) = self.told(reference.and_then(|r| r.turned.as_ref())) {
            odds += own;
            evidence += &told;
        }
        finding(fault, logistic(-odds), evidence)
    }

    /// The log-odds that frames are not changed, and the evidence, if the reference can tell.
    fn told(&self, discriminant: Option<&Discriminant>) -> Option<(f64, String)> {
        let discriminant = discriminant.filter(|told| told.apart() >= LEAST_APART)?;
        let seen = self.spread(|signs| Some(discriminant.score(&signs.look)))?;
        let (as_is, changed) = (discriminant.as_is, discriminant.changed);
        let told = format!(
            "; features score {:.1}, the policy's own frames {:.1} +- {:.1} and {:.1} +- {:.1} \
             when changed so",
            seen.mean, as_is.mean, as_is.deviation, changed.mean, changed.deviation
        );
        Some((discriminant.odds(&seen), told))
    }

    fn mirrored(&self, reference: Option<&Reference>) -> Finding {
        let fault = Fault::Mirrored;
        if let Some(found) = self.colour_turned(fault, Turned::Mirrored) {
            return found;
        }
        let nats = self.spread(|signs| Some(signs.unmirrored)).map_or(0.0, |nats| nats.mean);
        let agree = match self.alignment() {
            Some(alignment) if peaked(&alignment) => {
                "colour and depth lie alike, so colour alone is not mirrored; "
            }
            _ => "",
        };
        if let Some((odds, told)) = self.told(reference.and_then(|r| r.mirrored.as_ref())) {
            return finding(
                fault,
                logistic(-odds),
                format!("{agree}{}", told.trim_start_matches("; ")),
            );
        }
        cannot_tell(
            fault,
            format!(
                "{agree}whether the whole camera is, pictures of a room do not tell (patches fit \
                 better unmirrored by {nats:+.1} nats; measured right in 57 %, chance 50)"
            ),
        )
    }

    /// Whether depth fits turned colour much better than colour as it is.
    fn colour_turned(&self, fault: Fault, turned: Turned) -> Option<Finding> {
        let alignment = self.alignment()?;
        let at = self.ways.iter().position(|way| way.turned == turned)?;
        let gain = self.gain(at)?;
        let (as_is, other) = (alignment.means[0], alignment.means[at]);
        // Shifted edges lie near edges too; turned ones must do better than those.
        let better = other > as_is && other > alignment.middle + 2.0 * alignment.deviation;
        let sure = normal(gain.mean / gain.error().max(1e-6));
        (better && sure >= SURE).then(|| {
            let evidence = format!(
                "edges of depth fit colour turned so (score {other:.3}) better than as it is \
                 ({as_is:.3}): colour is turned and depth is not"
            );
            finding(fault, sure, evidence)
        })
    }

    fn colour_swapped(&self, reference: Option<&Reference>) -> Finding {
        let fault = Fault::ColourSwapped;
        match (reference.and_then(|r| r.swapped.as_ref()), reference) {
            (None, _) => cannot_tell(
                fault,
                "only a policy with a reference knows what colours its place has (health.json, \
                 written by adapt)",
            ),
            (Some(told), _) if told.apart() < LEAST_APART => cannot_tell(
                fault,
                format!(
                    "the policy's own frames have too little colour: with red and blue exchanged \
                     their features differ by {:.1} standard deviations",
                    told.apart()
                ),
            ),
            (told, _) if self.is_unfamiliar(reference) => cannot_tell(
                fault,
                format!(
                    "the scene is unfamiliar, its colours are not known{}",
                    self.told(told).map_or(String::new(), |(_, told)| told)
                ),
            ),
            (told, _) => match self.told(told) {
                Some((odds, told)) => {
                    finding(fault, logistic(-odds), told.trim_start_matches("; ").to_owned())
                }
                None => cannot_tell(fault, "no frame was looked at"),
            },
        }
    }

    /// The offset that planes speak for.
    fn planes(&self) -> Option<planes::PlaneOffset> {
        let windows: Vec<_> = self.signs.iter().flat_map(|signs| signs.windows.clone()).collect();
        planes::together(&windows)
    }

    fn depth_offset(&self) -> Finding {
        let fault = Fault::DepthOffset;
        let Some(found) = self.planes() else {
            let windows: usize = self.signs.iter().map(|signs| signs.windows.len()).sum();
            return cannot_tell(
                fault,
                format!("an offset bends slanted planes; {windows} were found, 4 are needed"),
            );
        };
        let planes::PlaneOffset { offset_m, sigma_m, windows } = found;
        let evidence = format!(
            "{windows} slanted planes are flat once {:+.0} +- {:.0} mm are taken off their depth",
            1e3 * offset_m,
            1e3 * sigma_m
        );
        // Beyond what lenses and floors do by themselves.
        let least_m = 0.04;
        if sigma_m > least_m {
            return cannot_tell(fault, evidence + ": too uncertain");
        }
        let beyond = (offset_m.abs() - least_m) / sigma_m.max(0.005);
        finding(fault, normal(beyond), evidence)
    }

    fn depth_scaled(&self, reference: Option<&Reference>) -> Finding {
        let fault = Fault::DepthScaled;
        let mut depths: Vec<f64> = self
            .signs
            .iter()
            .flat_map(|signs| signs.points.iter().map(|&(_, z_m)| f64::from(z_m)))
            .collect();
        if depths.is_empty() {
            return cannot_tell(fault, "there is no depth that is registered to colour");
        }
        let middle = depths.len() / 2;
        let middle_m = *depths.select_nth_unstable_by(middle, f64::total_cmp).1;
        if !USUAL_DEPTH_M.contains(&middle_m) {
            let evidence =
                format!("the middle depth is {middle_m:.3} m: is the unit of depth right?");
            return finding(fault, 0.98, evidence);
        }
        let Some(usual) = reference.and_then(|r| r.level) else {
            return cannot_tell(
                fault,
                format!(
                    "the middle depth is {middle_m:.2} m, which a room has; what things are how \
                     large only a policy with a reference knows (health.json, written by adapt)"
                ),
            );
        };
        // An offset is not a scale: what planes say is taken off first.
        let offset_m = self
            .planes()
            .filter(|found| found.sigma_m < 0.04 && found.offset_m.abs() > 0.04)
            .map_or(0.0, |found| found.offset_m);
        let Some(seen) = Spread::of(self.levels(offset_m)) else {
            return cannot_tell(fault, "fewer than 30 places of each frame have depth");
        };
        let change = seen.mean - usual.mean;
        let error = seen.error().hypot(usual.error()).max(0.03);
        let (low, high) = ((change - error).exp(), (change + error).exp());
        let mut evidence = format!(
            "depth is {:.2} times ({low:.2} to {high:.2}) what the policy knows for such things",
            change.exp()
        );
        if offset_m != 0.0 {
            evidence += &format!(", after an offset of {:+.0} mm is taken off", 1e3 * offset_m);
        }
        // In another place the policy may be wrong by as much for no fault of the camera.
        let familiar = self.unfamiliar(reference).likely == Likely::No;
        if !familiar && change.abs() < 3.0_f64.ln() {
            let why = evidence + "; but the scene is not known well enough to rely on that";
            return cannot_tell(fault, why);
        }
        let beyond = (change.abs() - 1.1_f64.ln()) / error;
        finding(fault, normal(beyond), evidence)
    }

    fn unregistered(&self) -> Finding {
        let fault = Fault::DepthUnregistered;
        if self.unregistered * 2 > self.signs.len() {
            return finding(fault, 0.99, "the source itself says that it is not".to_owned());
        }
        let Some(alignment) = self.alignment() else {
            return cannot_tell(fault, "fewer than three frames have edges in depth");
        };
        let turned = [(Fault::UpsideDown, Turned::UpsideDown), (Fault::Mirrored, Turned::Mirrored)];
        for (other, turned) in turned {
            if self.colour_turned(other, turned).is_some() {
                let why = format!("colour is turned against depth, see {}", other.name());
                return cannot_tell(fault, why);
            }
        }
        let straight = self.ways.iter().enumerate().filter(|(_, way)| way.turned == Turned::No);
        let best = straight.max_by(|a, b| alignment.means[a.0].total_cmp(&alignment.means[b.0]));
        let Some((at, way)) = best else { return cannot_tell(fault, "nothing was compared") };
        let (as_is, best) = (alignment.means[0], alignment.means[at]);
        let evidence = format!(
            "edges of depth meet edges of colour with score {as_is:.3} as they are; best ({best:.3}) \
             moved by {:+.1} % right, {:+.1} % down of the width and scaled by {:.2}; {:.3} +- \
             {:.3} is what any shift gives",
            100.0 * way.right,
            100.0 * way.down,
            way.scale,
            alignment.middle,
            alignment.deviation
        );
        let moved = way.moves() >= LEAST_MOVE;
        let part = (best - as_is) / (best - alignment.middle).max(1e-6);
        let sure = self.gain(at).map_or(0.5, |gain| normal(gain.mean / gain.error().max(1e-6)));
        match (moved, peaked(&alignment)) {
            (true, _) if part > 0.3 && sure >= SURE => finding(
                fault,
                sure,
                evidence + ": depth is unregistered, or taken at another time than colour",
            ),
            (false, true) => finding(fault, 0.03, evidence),
            (true, true) if part < 0.25 => finding(fault, 0.08, evidence),
            _ => cannot_tell(fault, evidence),
        }
    }

    fn is_unfamiliar(&self, reference: Option<&Reference>) -> bool {
        self.unfamiliar(reference).likely == Likely::Yes
    }

    fn unfamiliar(&self, reference: Option<&Reference>) -> Finding {
        let fault = Fault::Unfamiliar;
        let Some(seen) = self.spread(|signs| Some(signs.strangeness)) else {
            return cannot_tell(fault, "no frame was looked at");
        };
        let ordered = self.spread(|signs| signs.ordered);
        // Without a reference: the features were scaled to 1 on the policy's own frames.
        let usual =
            reference.map_or(Spread { mean: 1.0, deviation: 0.12, frames: 0 }, |r| r.strangeness);
        let deviation = usual.deviation.max(0.05 * usual.mean);
        let mut beyond = (seen.mean - usual.mean) / deviation - 3.0;
        let mut evidence = format!(
            "features are {:.2} times as spread as usual ({:.2} against {:.2} +- {deviation:.2})",
            seen.mean / usual.mean,
            seen.mean,
            usual.mean
        );
        if let Some(ordered) = ordered {
            evidence += &format!(
                "; places are ordered as depth says in {:.0} % of the pairs",
                100.0 * ordered.mean
            );
            if let Some(usual) = reference.and_then(|r| r.ordered) {
                evidence += &format!(", {:.0} % is usual", 100.0 * usual.mean);
                let lost = usual.mean - ordered.mean;
                beyond = beyond.max((lost - 0.1) / usual.deviation.max(0.05));
            }
        }
        finding(fault, normal(beyond), evidence)
    }

    /// Scores of the ways over all frames; nothing from fewer than three frames.
    fn alignment(&self) -> Option<Alignment> {
        let frames: Vec<&[f64]> =
            self.signs.iter().filter_map(|signs| signs.aligned.as_deref()).collect();
        Alignment::of(&frames, &self.ways)
    }

    /// By how much a way scores better than as it is, over frames.
    fn gain(&self, at: usize) -> Option<Spread> {
        self.spread(|signs| signs.aligned.as_ref().map(|scores| scores[at] - scores[0]))
    }
}

/// Whether edges meet where they are clearly better than anywhere else.
fn peaked(alignment: &Alignment) -> bool {
    alignment.peak() > 1.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_right() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.841_345), (-1.96, 0.024_998), (3.0, 0.998_65)] {
            assert!((normal(z) - p).abs() < 1e-5, "{z}: {}", normal(z));
        }
    }

    #[test]
    fn what_is_halfway_is_not_told() {
        let fault = Fault::UpsideDown;
        assert_eq!(finding(fault, 0.7, String::new()).likely, Likely::CannotTell);
        assert_eq!(finding(fault, 0.95, String::new()).likely, Likely::Yes);
        let no = finding(fault, 0.02, String::new());
        assert_eq!((no.likely, no.confidence), (Likely::No, 0.98));
    }
}

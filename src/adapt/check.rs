//! The test of a candidate: it takes the place of the policy that serves, wholly or part of the
//! way, or it does not; and what follows when it does not again and again.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    alarm::{Alarm, Reaction, candidate_alarm, factory_alarm},
    exam::{Exam, exam},
    learner::Learner,
    promote::{self, Rejection, Set, compare},
};
use crate::{
    policy::compact::{CompactError, CompactPolicy},
    tally::Tally,
};

/// Where a candidate that is rejected though it answers better here is tested again, between the
/// serving policy (0) and itself (1).
const NEARER: [f64; 9] = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];

/// What became of a tested candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The step after which it was tested.
    pub step: u64,
    /// Mean accuracy of the serving policy over sets and kinds, before this.
    pub serving: f64,
    /// That of the candidate, or of what is promoted between the two.
    pub candidate: f64,
    /// How far the promoted policy lies from the serving one to the candidate; less than 1 for
    /// a candidate that forgot too much.
    pub part: f64,
    /// The version that serves from now on.
    pub version: u64,
    /// Why the candidate was not promoted, if it was not.
    pub rejected: Option<Rejection>,
    /// What went wrong beside that.
    pub alarm: Option<Alarm>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check { step, serving, candidate, part, version, rejected, .. } = self;
        if let Some(why) = rejected {
            return write!(f, "step {step}: candidate rejected: {why}");
        }
        let (now, was) = (100.0 * candidate, 100.0 * serving);
        write!(
            f,
            "step {step}: promoted to version {version}: {now:.1} % of the held-out tasks, "
        )?;
        write!(f, "was {was:.1} %")?;
        match *part < 1.0 {
            true => write!(f, " ({part} of the way to a candidate that was refused)"),
            false => Ok(()),
        }
    }
}

/// Counts of candidates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Promoted.
    pub promoted: u64,
    /// Not promoted, by reason.
    pub rejected: Tally,
    /// Alarms by name.
    pub alarms: Tally,
    /// Rollbacks, by an alarm or by hand.
    pub rolled_back: u64,
}

impl Learner {
    /// Tests the candidate now: it is promoted or it is not. One that is rejected though it
    /// answers better here is tested again at places nearer and nearer to the serving policy.
    ///
    /// # Errors
    /// When a policy cannot answer.
    pub fn check(&mut self) -> Result<Check, CompactError> {
        let whole = Arc::new(self.trainer.policy().frozen());
        let candidate = exam(&whole, &self.held_out)?;
        let (start, serving) = self.exams()?;
        let vitals = candidate.vitals(self.state.known_start.then_some(&start), &self.held_out);
        let config = &self.config.promote.alarm;
        let mut alarm = factory_alarm(&start.answers, &serving.answers)
            .or_else(|| candidate_alarm(&vitals, config));
        let admit = |exam: &Exam| {
            compare(&serving.answers, &exam.answers)?;
            promote::nothing_forgotten(&start.answers, &exam.answers)
        };
        let compared = admit(&candidate);
        let means = (promote::mean(&serving.answers), promote::mean(&candidate.answers));
        let mut check = Check {
            step: self.trainer.steps(),
            serving: means.0,
            candidate: means.1,
            part: 1.0,
            version: 0,
            rejected: None,
            alarm: None,
        };
        check.rejected = match (&alarm, compared) {
            (Some(alarm), _) => Some(Rejection::Alarm(alarm.name().to_owned())),
            (None, compared) => compared.err(),
        };
        let here = |exam: &Exam| promote::mean(&promote::of_set(&exam.answers, Set::Local));
        let learnt_here = here(&candidate) > here(&serving);
        let mut taken = check.rejected.is_none().then_some((whole.clone(), candidate));
        if check.rejected.is_some() && alarm.is_none() && learnt_here {
            for part in NEARER {
                let nearer = Arc::new(whole.blended(&self.serving, part));
                let exam = exam(&nearer, &self.held_out)?;
                if admit(&exam).is_ok() {
                    (check.part, check.candidate) = (part, promote::mean(&exam.answers));
                    check.rejected = None;
                    taken = Some((nearer, exam));
                    break;
                }
            }
        }
        match taken {
            Some((policy, exam)) => self.promote(policy, exam),
            None => {
                let name = check.rejected.as_ref().map_or("untested", Rejection::name);
                self.state.candidates.rejected.add(name);
                self.state.rejections += 1;
                let (rejections, restarts) = (self.state.rejections, self.state.restarts);
                if alarm.is_none() && rejections >= self.config.promote.alarm.patience.max(1) {
                    alarm = Some(match restarts >= self.config.promote.alarm.max_restarts {
                        true => Alarm::Fruitless { restarts },
                        false => Alarm::Stalled { rejections },
                    });
                }
            }
        }
        if let Some(alarm) = &alarm {
            self.state.candidates.alarms.add(alarm.name());
            self.react(alarm.reaction());
        }
        (check.version, check.alarm) = (self.state.version, alarm);
        Ok(check)
    }

    fn promote(&mut self, policy: Arc<CompactPolicy>, exam: Exam) {
        let before = std::mem::replace(&mut self.serving, policy);
        self.earlier.push_back((self.state.version, before));
        while self.earlier.len() > self.config.promote.history {
            self.earlier.pop_front();
        }
        self.state.versions += 1;
        self.state.version = self.state.versions;
        (self.state.rejections, self.state.restarts) = (0, 0);
        self.state.candidates.promoted += 1;
        if let Some((_, version, _, serving)) = &mut self.known {
            (*version, *serving) = (self.state.version, exam);
        }
    }

    fn react(&mut self, reaction: Reaction) {
        match reaction {
            Reaction::RollBack => {
                self.roll_back(1);
            }
            Reaction::Freeze => {
                self.state.frozen = true;
                self.restart();
                self.state.restarts = 0;
            }
            Reaction::Restart => self.restart(),
        }
    }

    /// The candidate starts again from the serving policy.
    fn restart(&mut self) {
        self.state.rejections = 0;
        self.state.restarts += 1;
        self.trainer.policy_mut().take_weights(&self.serving);
    }

    /// Lets the policy serve that served `n` promotions ago, or the earliest one kept; the
    /// candidate starts again from it. Gives the version that serves now.
    pub fn roll_back(&mut self, n: usize) -> u64 {
        for _ in 0..n.min(self.earlier.len() + 1) {
            let (version, policy) = match self.earlier.pop_back() {
                Some(earlier) => earlier,
                None => (0, self.start.clone()),
            };
            (self.state.version, self.serving) = (version, policy);
        }
        self.state.candidates.rolled_back += 1;
        self.restart();
        self.state.version
    }

    /// The exams of the start and of the serving policy on the present held-out tasks.
    fn exams(&mut self) -> Result<(Exam, Exam), CompactError> {
        let now = (self.held_out.version(), self.state.version);
        if let Some((tasks, version, start, serving)) = &self.known
            && (*tasks, *version) == now
        {
            return Ok((start.clone(), serving.clone()));
        }
        let start = exam(&self.start, &self.held_out)?;
        let serving = match self.state.version {
            0 => start.clone(),
            _ => exam(&self.serving, &self.held_out)?,
        };
        self.known = Some((now.0, now.1, start.clone(), serving.clone()));
        Ok((start, serving))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_became_of_the_candidate() {
        let mut check = Check {
            step: 300,
            serving: 0.8,
            candidate: 0.9,
            part: 1.0,
            version: 2,
            rejected: None,
            alarm: None,
        };
        let whole = "step 300: promoted to version 2: 90.0 % of the held-out tasks, was 80.0 %";
        assert_eq!(check.to_string(), whole);
        check.part = 0.5;
        let half = " (0.5 of the way to a candidate that was refused)";
        assert_eq!(check.to_string(), whole.to_owned() + half);
        check.rejected = Some(Rejection::Untested);
        assert!(
            check.to_string().starts_with("step 300: candidate rejected: there are no held-out")
        );
    }
}

//! How much of the machine learning may take. What is measured comes from outside
//! ([`Load`]); what is decided here is whether to go on, and for how long to rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of the learner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Part of the time that the learner works, 0.01 to 1; it rests in between.
    pub duty_cycle: f64,
    /// Threads that make tasks, encode and update; 0: one for each core.
    pub threads: usize,
    /// Added to the process's niceness, 0 to 19: everything else goes first.
    pub niceness: u32,
    /// Learning pauses while the process holds more than this, bytes; 0: no limit.
    pub max_memory_bytes: u64,
    /// A vision-language model takes at most this much of the GPU, bytes; 0: what is free. The
    /// head of the compact policy takes next to nothing beside the CUDA context.
    pub max_gpu_memory_bytes: u64,
    /// Learning pauses when any thermal zone is this hot, degrees Celsius; 0: no limit.
    pub max_temperature_c: f64,
    /// It goes on when all are cooler than this.
    pub resume_below_c: f64,
    /// Learning pauses while the battery has less than this part, 0 to 1.
    pub min_battery: f64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig {
            duty_cycle: 1.0,
            threads: 0,
            niceness: 0,
            max_memory_bytes: 0,
            max_gpu_memory_bytes: 0,
            max_temperature_c: 0.0,
            resume_below_c: 0.0,
            min_battery: 0.0,
        }
    }
}

impl BudgetConfig {
    /// Bytes that a model may take of the device it runs on, of which `free` are free; `None`
    /// where nothing tells.
    ///
    /// ```
    /// use spatial_ssrl::adapt::budget::BudgetConfig;
    /// let budget = BudgetConfig { max_gpu_memory_bytes: 6 << 30, ..BudgetConfig::default() };
    /// assert_eq!(budget.device_bytes(true, Some(8 << 30)), Some(6 << 30));
    /// assert_eq!(budget.device_bytes(true, None), Some(6 << 30), "a Jetson does not tell");
    /// assert_eq!(budget.device_bytes(false, Some(8 << 30)), Some(8 << 30));
    /// ```
    pub fn device_bytes(&self, gpu: bool, free: Option<u64>) -> Option<u64> {
        let limit = if gpu { self.max_gpu_memory_bytes } else { self.max_memory_bytes };
        let limit = (limit > 0).then_some(limit);
        limit.into_iter().chain(free).min()
    }
}

/// A limit that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("budget: {key} = {value} is not {needed}")]
pub struct BudgetError {
    key: &'static str,
    value: f64,
    needed: &'static str,
}

/// What the machine is doing; `None` where that cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Held by this process, bytes.
    pub memory_bytes: Option<u64>,
    /// The hottest thermal zone, degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Part of the battery's charge, 0 to 1.
    pub battery: Option<f64>,
    /// Somebody asked to pause.
    pub paused: bool,
}

/// Why learning pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// Somebody asked.
    Asked,
    /// Too much memory.
    Memory,
    /// Too hot.
    Temperature,
    /// Too little charge.
    Battery,
}

impl Pause {
    /// The stable name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Pause::Asked => "asked",
            Pause::Memory => "memory",
            Pause::Temperature => "temperature",
            Pause::Battery => "battery",
        }
    }
}

/// Keeps the learner within its budget.
#[derive(Clone, Debug)]
pub struct Governor {
    config: BudgetConfig,
    hot: bool,
}

impl Governor {
    /// A governor for these limits.
    ///
    /// # Errors
    /// [`BudgetError`] naming the limit that makes no sense.
    pub fn new(config: BudgetConfig) -> Result<Self, BudgetError> {
        let wrong = |key, value, needed| Err(BudgetError { key, value, needed });
        let BudgetConfig { duty_cycle, niceness, max_temperature_c, resume_below_c, .. } = config;
        if !(0.01..=1.0).contains(&duty_cycle) {
            return wrong("duty_cycle", duty_cycle, "between 0.01 and 1");
        }
        if niceness > 19 {
            return wrong("niceness", f64::from(niceness), "between 0 and 19");
        }
        if !(0.0..=1.0).contains(&config.min_battery) {
            return wrong("min_battery", config.min_battery, "between 0 and 1");
        }
        if max_temperature_c.is_nan() || max_temperature_c < 0.0 {
            return wrong("max_temperature_c", max_temperature_c, "0 or above");
        }
        if max_temperature_c > 0.0 && !(resume_below_c > 0.0 && resume_below_c < max_temperature_c)
        {
            return wrong("resume_below_c", resume_below_c, "below max_temperature_c and above 0");
        }
        Ok(Governor { config, hot: false })
    }

    /// Whether to pause now, and why.
    ///
    /// ```
    /// use spatial_ssrl::adapt::budget::{BudgetConfig, Governor, Load, Pause};
    /// let config = BudgetConfig {
    ///     max_temperature_c: 80.0,
    ///     resume_below_c: 70.0,
    ///     ..BudgetConfig::default()
    /// };
    /// let mut governor = Governor::new(config)?;
    /// let at = |c| Load { temperature_c: Some(c), ..Load::default() };
    /// assert_eq!(governor.pause(&at(79.0)), None);
    /// assert_eq!(governor.pause(&at(80.0)), Some(Pause::Temperature));
    /// assert_eq!(governor.pause(&at(75.0)), Some(Pause::Temperature), "not cool enough yet");
    /// assert_eq!(governor.pause(&at(69.0)), None);
    /// # Ok::<(), spatial_ssrl::adapt::budget::BudgetError>(())
    /// ```
    pub fn pause(&mut self, load: &Load) -> Option<Pause> {
        let BudgetConfig { max_memory_bytes, max_temperature_c, resume_below_c, .. } = self.config;
        if let (Some(now), true) = (load.temperature_c, max_temperature_c > 0.0) {
            self.hot = now >= if self.hot { resume_below_c } else { max_temperature_c };
        }
        let above = |limit: u64, now: Option<u64>| limit > 0 && now.is_some_and(|now| now > limit);
        if load.paused {
            Some(Pause::Asked)
        } else if self.hot {
            Some(Pause::Temperature)
        } else if above(max_memory_bytes, load.memory_bytes) {
            Some(Pause::Memory)
        } else if load.battery.is_some_and(|charge| charge < self.config.min_battery) {
            Some(Pause::Battery)
        } else {
            None
        }
    }

    /// How long to rest after having worked for `busy`.
    pub fn rest(&self, busy: Duration) -> Duration {
        let factor = 1.0 / self.config.duty_cycle - 1.0;
        Duration::try_from_secs_f64(busy.as_secs_f64() * factor).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_pauses_for_its_own_reason() {
        let config =
            BudgetConfig { max_memory_bytes: 100, min_battery: 0.3, ..BudgetConfig::default() };
        let mut governor = Governor::new(config).unwrap();
        let calm = Load { memory_bytes: Some(100), battery: Some(0.3), ..Load::default() };
        assert_eq!(governor.pause(&calm), None);
        let fat = Load { memory_bytes: Some(101), ..calm };
        assert_eq!(governor.pause(&fat), Some(Pause::Memory));
        assert_eq!(governor.pause(&Load { battery: Some(0.29), ..calm }), Some(Pause::Battery));
        assert_eq!(governor.pause(&Load { paused: true, ..fat }), Some(Pause::Asked));
        assert_eq!(governor.pause(&Load::default()), None, "what cannot be told does not pause");
    }

    #[test]
    fn rests_keep_the_duty_cycle() {
        let config = BudgetConfig { duty_cycle: 0.25, ..BudgetConfig::default() };
        let governor = Governor::new(config).unwrap();
        assert_eq!(governor.rest(Duration::from_millis(10)), Duration::from_millis(30));
        let free = Governor::new(BudgetConfig::default()).unwrap();
        assert_eq!(free.rest(Duration::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_with_the_number() {
        let refused = |config: BudgetConfig| Governor::new(config).unwrap_err().to_string();
        let default = BudgetConfig::default;
        assert!(refused(BudgetConfig { duty_cycle: 0.0, ..default() }).contains("duty_cycle = 0"));
        assert!(refused(BudgetConfig { niceness: 20, ..default() }).contains("niceness = 20"));
        let hot = BudgetConfig { max_temperature_c: 80.0, resume_below_c: 90.0, ..default() };
        assert!(refused(hot).contains("resume_below_c = 90"));
    }
}

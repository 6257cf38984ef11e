//! What the machine is doing, and how the learner is kept within its budget: the edge to
//! `/proc`, `/sys` and the scheduler.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{CliError, Context};
use crate::{
    adapt::budget::{BudgetConfig, Governor, Load, Pause},
    tally::Tally,
};

/// How often temperature, memory and battery are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A pause ends at most this long after its reason, or after Ctrl-C.
const NAP: Duration = Duration::from_millis(50);

/// Paces a learner.
pub struct Pace {
    governor: Governor,
    looked: Option<Instant>,
    worked_since: Instant,
    load: Load,
    /// Pauses by reason.
    pub pauses: Tally,
}

impl Pace {
    /// Takes the budget: lowers the priority of this process and bounds its threads.
    ///
    /// # Errors
    /// A limit that makes no sense.
    pub fn start(config: &BudgetConfig) -> Result<Self, CliError> {
        let governor =
            Governor::new(config.clone()).map_err(|e| CliError::Nothing(e.to_string()))?;
        if config.niceness > 0
            && let Err(error) = rustix::process::nice(config.niceness as i32)
        {
            tracing::warn!("cannot lower the priority by {}: {error}", config.niceness);
        }
        if config.threads > 0 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(config.threads);
            if let Err(error) = pool.build_global() {
                tracing::warn!("cannot use {} threads: {error}", config.threads);
            }
        }
        Ok(Pace {
            governor,
            looked: None,
            worked_since: Instant::now(),
            load: Load::default(),
            pauses: Tally::default(),
        })
    }

    /// Rests as the budget asks; comes back at once when the user stops the run.
    pub fn rest(&mut self, context: &Context) {
        let wake = Instant::now() + self.governor.rest(self.worked_since.elapsed());
        while Instant::now() < wake && !context.stopped() {
            std::thread::sleep(NAP.min(wake.saturating_duration_since(Instant::now())));
        }
        let mut told: Option<Pause> = None;
        while let Some(why) = self.pause()
            && !context.stopped()
        {
            if told != Some(why) {
                self.pauses.add(why.name());
                tracing::warn!("learning pauses: {}", why.name());
                told = Some(why);
            }
            std::thread::sleep(NAP);
        }
        self.worked_since = Instant::now();
    }

    fn pause(&mut self) -> Option<Pause> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.load = load();
        }
        self.governor.pause(&self.load)
    }
}

/// What the machine is doing now.
pub fn load() -> Load {
    Load {
        memory_bytes: memory_bytes("VmRSS:"),
        temperature_c: hottest_c(Path::new("/sys/class/thermal")),
        battery: battery(Path::new("/sys/class/power_supply")),
        paused: false,
    }
}

/// A line of `/proc/self/status` in bytes.
pub fn memory_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?.trim();
    line.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Memory that programs can still get, bytes.
#[cfg(feature = "vlm")]
fn free_bytes() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?.trim();
    line.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Free memory of an NVIDIA GPU of its own, bytes; none where `nvidia-smi` does not tell.
#[cfg(feature = "vlm")]
fn gpu_free_bytes(index: usize) -> Option<u64> {
    let told = std::process::Command::new("nvidia-smi")
        .args(["--query-gpu=memory.free", "--format=csv,noheader,nounits", "-i"])
        .arg(index.to_string())
        .output()
        .ok()?;
    let mib: u64 = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
    Some(mib << 20)
}

/// Memory that is free on a device, without what a CUDA context takes itself, bytes.
#[cfg(feature = "vlm")]
pub fn available_bytes(device: crate::device::DeviceName) -> Option<u64> {
    use crate::device::DeviceName;
    /// A CUDA context and its libraries.
    const CONTEXT_BYTES: u64 = 1_000_000_000;
    match device {
        DeviceName::Cpu => free_bytes(),
        // A Jetson's GPU shares the processor's memory, and its nvidia-smi has no figure.
        DeviceName::Cuda(index) => gpu_free_bytes(index)
            .or_else(free_bytes)
            .map(|bytes| bytes.saturating_sub(CONTEXT_BYTES)),
    }
}

/// The hottest thermal zone, degrees Celsius.
fn hottest_c(zones: &Path) -> Option<f64> {
    let zones = std::fs::read_dir(zones).ok()?.flatten();
    let of_zone = |zone: std::fs::DirEntry| {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        text.trim().parse::<f64>().ok().map(|thousandths| thousandths / 1000.0)
    };
    zones.filter_map(of_zone).filter(|c| c.is_finite()).max_by(f64::total_cmp)
}

/// The charge of the emptiest battery, 0 to 1.
fn battery(supplies: &Path) -> Option<f64> {
    let supplies = std::fs::read_dir(supplies).ok()?.flatten();
    let charge = |supply: std::fs::DirEntry| {
        let text = std::fs::read_to_string(supply.path().join("capacity")).ok()?;
        text.trim().parse::<f64>().ok().map(|percent| percent / 100.0)
    };
    supplies.filter_map(charge).filter(|c| c.is_finite()).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_zone_and_the_emptiest_battery_count() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(hottest_c(&folder.path().join("none")), None);
        for (zone, file, text) in [
            ("zone0", "temp", "41500\n"),
            ("zone1", "temp", "63000\n"),
            ("zone2", "temp", "broken"),
            ("bat0", "capacity", "80\n"),
            ("bat1", "capacity", "35"),
        ] {
            std::fs::create_dir_all(folder.path().join(zone)).unwrap();
            std::fs::write(folder.path().join(zone).join(file), text).unwrap();
        }
        assert_eq!(hottest_c(folder.path()), Some(63.0));
        assert_eq!(battery(folder.path()), Some(0.35));
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(memory_bytes("VmRSS:").is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(memory_bytes("Nonsense:"), None);
    }
}

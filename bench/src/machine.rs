//! What the figures were measured on: the processor, the kernel, and which core does what.

use anyhow::{Context, Result};
use tollgate::os::affinity;

/// What stands beside every figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The processor's name for itself.
    pub(crate) cpu: String,
    /// The kernel's release.
    pub(crate) kernel: String,
}

impl Machine {
    /// As the system tells it; what it does not tell is `unknown`.
    pub(crate) fn read() -> Self {
        let unknown = || "unknown".to_owned();
        let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(model_name);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            cpu: cpu.unwrap_or_else(unknown),
            kernel: kernel.map_or_else(unknown, |release| release.trim().to_owned()),
        }
    }
}

/// The processor's name in the text of `/proc/cpuinfo`.
fn model_name(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = line.split_once(':')?;
    Some(name.trim().to_owned())
}

/// Who runs where. Both ends of an exchange poll, so that they need a core each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    /// This process: it asks, and reads the clock.
    pub(crate) near: usize,
    /// The other process, or the appliance's engine thread: it answers.
    pub(crate) far: usize,
    /// Threads that nobody waits for: a core of their own where there is a third one, else that of `near`.
    pub(crate) cold: usize,
}

impl Cores {
    /// The first and the last of the cores that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        Self::among(&affinity::cores()).context("the system does not say which cores this process may use")
    }

    fn among(cores: &[usize]) -> Option<Self> {
        let (&near, &far) = (cores.first()?, cores.last()?);
        let cold = if cores.len() > 2 { cores[1] } else { near };
        Some(Self { near, far, cold })
    }

    /// What to know when the two ends have to share a core.
    pub(crate) fn note(self) -> Option<&'static str> {
        (self.near == self.far).then_some(
            "both ends share one core: every figure is the scheduler's, not the exchange's; use two cores",
        )
    }
}

/// Pins the calling thread.
pub(crate) fn pin(core: usize) -> Result<()> {
    affinity::pin_to(core).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_apart_where_they_can_be() {
        assert_eq!(Cores::among(&[]), None);
        assert_eq!(Cores::among(&[3]), Some(Cores { near: 3, far: 3, cold: 3 }));
        assert_eq!(Cores::among(&[0, 1]), Some(Cores { near: 0, far: 1, cold: 0 }));
        assert_eq!(Cores::among(&[2, 4, 6, 8]), Some(Cores { near: 2, far: 8, cold: 4 }));
        assert!(Cores { near: 1, far: 1, cold: 1 }.note().is_some());
        assert!(Cores { near: 0, far: 1, cold: 0 }.note().is_none());
    }

    #[test]
    fn the_processors_name_is_found() {
        assert_eq!(
            model_name("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n").unwrap(),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(model_name("processor : 0\n"), None);
    }
}

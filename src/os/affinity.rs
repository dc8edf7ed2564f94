//! Where and when a thread runs: pinning it to a processor core, and making way for others.

/// Pins the calling thread to the core with this number; says why not if it cannot. The thread may have been kept off
/// that core until now.
pub fn pin_to(core: usize) -> Result<(), String> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    let known: Vec<String> = cores().iter().map(ToString::to_string).collect();
    Err(format!("core {core} is not available to this process; choose one of {}", known.join(", ")))
}

/// Whether a thread could be pinned to this core, tried on one that ends at once.
pub fn try_pin(core: usize) -> Result<(), String> {
    std::thread::spawn(move || pin_to(core)).join().unwrap_or_else(|_| Err("pinning panicked".into()))
}

/// The cores available to this process, in ascending order; empty when the system does not say.
#[must_use]
pub fn cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// From now on the calling thread gets about a tenth of a core that an ordinary thread wants too: enough for work that
/// somebody will wait for in the end. Best effort.
pub fn make_way() {
    const LOW_PRIORITY: libc::c_int = 10;
    // SAFETY: a plain system call about the calling thread (0); what it refuses changes nothing.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOW_PRIORITY) };
}

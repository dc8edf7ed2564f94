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

/// The NUMA node that the calling thread runs on at this moment; `None` where the system does not say.
#[must_use]
pub fn node() -> Option<u32> {
    let mut node = 0_u32;
    // SAFETY: writes the number of the node to a live word; where no pointer is given it writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_getcpu,
            std::ptr::null_mut::<u32>(),
            &raw mut node,
            std::ptr::null_mut::<libc::c_void>(),
        )
    };
    (result == 0).then_some(node)
}

/// How many NUMA nodes the machine has; `None` where the system does not say.
#[must_use]
pub fn nodes() -> Option<usize> {
    listed(std::fs::read_to_string("/sys/devices/system/node/has_memory").ok()?.trim())
}

/// How many numbers a list such as `0-1,4` has.
fn listed(text: &str) -> Option<usize> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)
    };
    text.split(',').map(range).sum()
}

/// From now on the calling thread gets about a tenth of a core that an ordinary thread wants too: enough for work that
/// somebody will wait for in the end. Best effort.
pub fn make_way() {
    const LOW_PRIORITY: libc::c_int = 10;
    // SAFETY: a plain system call about the calling thread (0); what it refuses changes nothing.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOW_PRIORITY) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_on_a_node_of_the_machine() {
        for (text, expected) in
            [("0", Some(1)), ("0-1", Some(2)), ("0-3,8,10-11", Some(7)), ("", None), ("3-1", None)]
        {
            assert_eq!(listed(text), expected, "{text}");
        }
        let Some(nodes) = nodes() else {
            println!("SKIPPED: a thread is on a node (the system lists none)");
            return;
        };
        let node = node().unwrap();
        // Numbers may be left out, but then there is more than one node.
        assert!(nodes > 1 || node == 0, "node {node} of {nodes}");
    }
}

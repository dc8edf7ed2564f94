//! Pinning a thread to a processor core.

/// Pins the calling thread to the core with this number; says why not if it cannot.
pub fn pin_to(core: usize) -> Result<(), String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some(id) = cores.iter().find(|id| id.id == core) else {
        let known: Vec<String> = cores.iter().map(|id| id.id.to_string()).collect();
        return Err(format!(
            "core {core} is not available to this process; choose one of {}",
            known.join(", ")
        ));
    };
    if core_affinity::set_for_current(*id) { Ok(()) } else { Err(format!("the system refused core {core}")) }
}

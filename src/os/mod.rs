//! What the appliance asks of the operating system.

pub mod affinity;
pub mod clock;
pub mod lock;
pub mod memfd;
pub mod memory;
pub mod peer;
pub mod signals;

//! Tollgate: a real-time payment risk appliance. Modules are in data-path order.

pub mod encode;
pub mod engine;
pub mod journal;
pub mod os;
pub mod policy;
pub mod token;

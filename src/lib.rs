//! Tollgate: a real-time payment risk appliance. Modules are in data-path order.

pub mod appliance;
mod asks;
pub mod clients;
pub mod config;
pub mod control;
pub mod demo;
pub mod desk;
pub mod encode;
pub mod engine;
pub mod hot_loop;
pub mod journal;
pub mod log;
pub mod os;
pub mod policy;
pub mod policy_files;
pub mod replay;
pub mod stats;
pub mod token;

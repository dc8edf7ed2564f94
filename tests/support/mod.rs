//! What the tests share: an independent reading of a policy (`oracle`), random policies and streams
//! (`generate`, `streams`), which can also be printed in the language (`sayable`, `printer`), and random texts of the grammar
//! (`texts`).
//!
//! None of it looks at how the compiler or the engine work: it reads `policy::typed` by the meaning its
//! documentation gives, so that an error has to be made twice, in two different shapes, to go unseen.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part of it, inside this crate only"
)]

pub mod aggregates;
pub mod fraction;
pub mod frames;
pub mod generate;
pub mod models;
pub mod oracle;
pub mod printer;
pub mod receipts;
pub mod rng;
pub mod sayable;
pub mod streams;
pub mod texts;

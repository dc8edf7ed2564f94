//! Models: tree ensembles, linear models and scorecards that other libraries trained, scored one row at a time.
//!
//! The crate knows no payments. A [`Model`](model::Model) is what an importer makes of another library's file; it is
//! archived with rkyv and executed where it lies, after [`validate`](validate::validate) has looked at all of it once.
//! The same row gives the same margin, bit for bit, as the library that trained the model, and on every machine:
//!
//! - [`walk`] follows the canonical trees in the plainest way. It is the definition, and what the kernels are held against.
//! - [`lanes`] lays the same trees out for the [`kernel`]s: 64 trees abreast, one byte a tree.
//! - [`scorer`] chooses a kernel at load and keeps what it needs between rows.
//!
//! With the feature `import`, `import` reads LightGBM, XGBoost and linear models, and `archive` writes and opens `.tgm` files.

#[cfg(feature = "import")]
pub mod archive;
#[cfg(feature = "import")]
pub mod import;
pub mod kernel;
pub mod lanes;
pub mod link;
pub mod model;
pub mod scorer;
pub mod validate;
pub mod walk;

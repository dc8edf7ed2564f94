//! A model of two inputs, for policies that want one: whatever its file is called, if the name ends with `.tgm`.

use tollgate_model::archive::seal;
use tollgate_model::model::{Body, FORMAT_VERSION, GoldenRow, Linear, Link, Model, Provenance, Scaled, Term};

/// `sigmoid(0.5 · amount ÷ 100 + declines − 3)`; without `declines` there is no margin.
#[must_use]
pub(crate) fn small_model() -> Vec<u8> {
    let term = |scale: f64, weight: f64, missing: Option<f64>| {
        Term::Scaled(Scaled { mean: 0.0, scale, weight, missing })
    };
    seal(&Model {
        format: FORMAT_VERSION,
        inputs: vec!["amount".to_owned(), "declines".to_owned()],
        body: Body::Linear(Linear {
            intercept: -3.0,
            terms: vec![term(100.0, 0.5, Some(0.0)), term(1.0, 1.0, None)],
        }),
        link: Link::Sigmoid(1.0),
        provenance: Provenance { source: "linear".to_owned(), ..Provenance::default() },
        golden: vec![GoldenRow { row: vec![200.0, 2.0], margin: 0.0, from_library: false }],
    })
}

//! From what happens in the simulated city to the words of the policy's events.
//!
//! A policy given with `--policy` may know less than the city offers: fields and events it does not declare are
//! not sent. It may not require more.

use super::stream::{Channel, Happening, Payment, wire_id};
use crate::encode::{self, EventWords, FieldSlot};
use crate::engine::program::{ArchivedEventPlan, ArchivedProgram};
use crate::engine::units::{Currency, Key, Time};
use anyhow::{Context, Result, bail};

/// What each event of the city offers; the rest of a policy's event must be optional.
const OFFERED: [(&str, &[&str]); 4] = [
    ("payment", &["card", "payer", "device", "merchant", "place", "amount", "channel", "sca"]),
    ("result", &["outcome", "by"]),
    ("label", &["is_fraud"]),
    ("password_change", &["owner", "device"]),
];

/// One event of the policy and where its offered fields are.
struct Shape<'p> {
    kind: u16,
    plan: &'p ArchivedEventPlan,
    fields: Vec<Option<FieldSlot>>,
    /// For amendments: where the copies of the payment's keys are.
    keys: Vec<Option<FieldSlot>>,
}

/// How to tell a policy what happens.
pub(super) struct Layout<'p> {
    payment: Shape<'p>,
    result: Option<Shape<'p>>,
    label: Option<Shape<'p>>,
    password: Option<Shape<'p>>,
    channels: [Option<i64>; 3],
    authentication: [Option<i64>; 2],
    outcomes: [Option<i64>; 2],
    deciders: [Option<i64>; 2],
    currency: Currency,
}

const PAYMENT_KEYS: [&str; 5] =
    ["payment.card", "payment.payer", "payment.device", "payment.merchant", "payment.place"];

fn shape<'p>(program: &'p ArchivedProgram, (name, offered): (&str, &[&str])) -> Result<Option<Shape<'p>>> {
    let Some((kind, plan)) = encode::event(program, name) else { return Ok(None) };
    for field in plan.fields.iter() {
        let known = offered.contains(&field.name.as_str()) || PAYMENT_KEYS.contains(&field.name.as_str());
        if !known && plan.required.to_native() & 1 << field.bit != 0 {
            bail!(
                "the demo has no value for the required field `{}` of event `{name}`: make it optional (`?`), or \
                 use only {}",
                field.name,
                offered.join(", ")
            );
        }
    }
    let fields = offered.iter().map(|field| encode::field(plan, field)).collect();
    let keys = PAYMENT_KEYS.iter().map(|field| encode::field(plan, field)).collect();
    Ok(Some(Shape { kind, plan, fields, keys }))
}

/// The ordinals of these words in an enum field, where it has them.
fn ordinals<const N: usize>(shape: Option<&Shape<'_>>, field: &str, words: [&str; N]) -> [Option<i64>; N] {
    let labels = shape.and_then(|shape| shape.plan.fields.iter().find(|plan| plan.name.as_str() == field));
    words.map(|word| labels?.labels.iter().position(|label| label.as_str() == word).map(|at| at as i64))
}

impl<'p> Layout<'p> {
    pub(super) fn new(program: &'p ArchivedProgram) -> Result<Self> {
        let payment = shape(program, OFFERED[0])?.context(
            "the demo sends payments: the policy must declare `event payment` and `decide payment`",
        )?;
        if payment.plan.decide.is_none() {
            bail!("the demo needs verdicts on payments: the policy has no `decide payment`");
        }
        let result = shape(program, OFFERED[1])?;
        Ok(Self {
            channels: ordinals(Some(&payment), "channel", ["pos", "ecom", "atm"]),
            authentication: ordinals(Some(&payment), "sca", ["none", "passed"]),
            outcomes: ordinals(result.as_ref(), "outcome", ["approved", "declined"]),
            deciders: ordinals(result.as_ref(), "by", ["issuer", "risk"]),
            currency: Currency::from_alpha("USD").context("USD is a known currency")?,
            label: shape(program, OFFERED[2])?,
            password: shape(program, OFFERED[3])?,
            payment,
            result,
        })
    }

    /// The kind number and words of what happened; `None` when the policy does not know such events.
    pub(super) fn encode(&self, time: Time, happening: &Happening) -> Option<(u16, EventWords)> {
        match happening {
            Happening::Payment(payment) => Some((self.payment.kind, self.encode_payment(payment))),
            Happening::Result { payment, approved, by_risk } => {
                let shape = self.result.as_ref()?;
                let mut words = amendment(shape, 2, time, payment);
                set_ordinal(&mut words, shape.fields[0], self.outcomes[usize::from(!approved)]);
                set_ordinal(&mut words, shape.fields[1], self.deciders[usize::from(*by_risk)]);
                Some((shape.kind, words))
            }
            Happening::Label { payment } => {
                let shape = self.label.as_ref()?;
                let mut words = amendment(shape, 3, time, payment);
                set_ordinal(&mut words, shape.fields[0], Some(i64::from(payment.fraud.is_some())));
                Some((shape.kind, words))
            }
            Happening::PasswordChange { id, account, device } => {
                let shape = self.password.as_ref()?;
                let mut words = EventWords::new(shape.plan, wire_id(4, *id), time);
                set_key(&mut words, shape.fields[0], Some(*account));
                set_key(&mut words, shape.fields[1], Some(*device));
                Some((shape.kind, words))
            }
        }
    }

    fn encode_payment(&self, payment: &Payment) -> EventWords {
        let fields = &self.payment.fields;
        let mut words = EventWords::new(self.payment.plan, wire_id(1, payment.id), payment.time);
        for (slot, key) in fields.iter().zip(payment_keys(payment)) {
            set_key(&mut words, *slot, key);
        }
        if let Some(slot) = fields[5] {
            words.set_money(slot, payment.cents, self.currency);
        }
        let channel = match payment.channel {
            Channel::Pos => 0,
            Channel::Ecom => 1,
            Channel::Atm => 2,
        };
        set_ordinal(&mut words, fields[6], self.channels[channel]);
        set_ordinal(&mut words, fields[7], self.authentication[usize::from(payment.authenticated)]);
        words
    }
}

/// In the order of [`PAYMENT_KEYS`].
fn payment_keys(payment: &Payment) -> [Option<Key>; 5] {
    [Some(payment.card), Some(payment.account), payment.device, Some(payment.shop), Some(payment.place)]
}

fn amendment(shape: &Shape<'_>, id_kind: u64, time: Time, payment: &Payment) -> EventWords {
    let mut words = EventWords::new(shape.plan, wire_id(id_kind, payment.id), time);
    words.set_target(wire_id(1, payment.id), payment.time);
    for (slot, key) in shape.keys.iter().zip(payment_keys(payment)) {
        set_key(&mut words, *slot, key);
    }
    words
}

fn set_key(words: &mut EventWords, slot: Option<FieldSlot>, key: Option<Key>) {
    if let (Some(slot), Some(key)) = (slot, key) {
        words.set_key(slot, key);
    }
}

fn set_ordinal(words: &mut EventWords, slot: Option<FieldSlot>, ordinal: Option<i64>) {
    if let (Some(slot), Some(ordinal)) = (slot, ordinal) {
        words.set_number(slot, ordinal);
    }
}

//! Which numbers a row has: fields of the event, and features, each in a unit that the file tells.
//!
//! They are those in which models are given them: the whole unit of money, as `major(…)` has it in a policy, seconds for durations,
//! metres, kilometres per hour. Times, which models are not given, are in microseconds. What is divided is divided exactly, and becomes a floating-point number last.

use crate::fault::{Fault, Problem, shown_text};
use crate::table::Item;
use tollgate::encode;
use tollgate::engine::program::{
    ArchivedEventPlan, ArchivedFieldKind, ArchivedFieldPlan, ArchivedProgram, NONE,
};
use tollgate::engine::units::{Currency, DECIMAL_DEN, SECOND, Value};
use tollgate::engine::wire::PRESENCE_WORD;
use tollgate::policy::typed::{FeatureKind, FieldType, Policy, Type};

/// A column of numbers.
#[derive(Clone, Debug)]
pub(super) struct Feature {
    /// Its name.
    pub(super) name: String,
    /// Where its number comes from.
    pub(super) number: Number,
    /// What the file says of it: what it is, its unit, the words of an enum.
    of: &'static str,
    unit: String,
    words: Vec<String>,
}

impl Feature {
    /// What the file says of it.
    pub(super) fn note(&self) -> serde_json::Value {
        let mut note = serde_json::json!({ "name": self.name, "of": self.of, "unit": self.unit });
        if !self.words.is_empty() {
            note["words"] = self.words.clone().into();
        }
        note
    }
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// From the decision.
    Feature {
        /// Which feature of the policy; after the features come its models.
        index: usize,
        /// How many of what it counts are one unit.
        per_unit: i64,
    },
    /// From the event.
    Field(FieldAt),
}

/// A field among an event's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldAt {
    word: usize,
    bit: u8,
    reading: Reading,
}

/// How a field's words are a number.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// The first is.
    Whole,
    /// It is in millionths.
    Decimal,
    /// It is in microseconds.
    Duration,
    /// It is in minor units, and the second says of which currency.
    Money,
    /// The second is.
    Currency,
}

impl FieldAt {
    /// The field of an event of these words, which the engine has taken.
    pub(super) fn read(self, words: &[u64]) -> Value {
        if words[PRESENCE_WORD] >> self.bit & 1 == 0 {
            return Value::MISSING;
        }
        let number = words[self.word] as i64;
        match self.reading {
            Reading::Whole => Value::int(number),
            Reading::Decimal => Value::ratio(number, DECIMAL_DEN),
            Reading::Duration => in_units(Value::int(number), SECOND),
            Reading::Money => {
                let digits = Currency::from_numeric(words[self.word + 1]).map_or(0, Currency::exponent);
                in_units(Value::int(number), 10_i64.pow(digits))
            }
            Reading::Currency => Value::int(words[self.word + 1] as i64),
        }
    }
}

/// A value in units of so many, exactly; missing when that does not fit, as it is to the engine.
pub(super) fn in_units(value: Value, per_unit: i64) -> Value {
    Value::from_wide(i128::from(value.num), i128::from(value.den) * i128::from(per_unit))
}

/// A value as models take it.
pub(super) fn item<'a>(value: Value) -> Item<'a> {
    if value.is_missing() { Item::Missing } else { Item::Real(value.to_f64()) }
}

/// A policy, compiled and as it is meant.
pub(super) struct Site<'a> {
    /// Compiled.
    pub(super) program: &'a ArchivedProgram,
    /// As it is meant.
    pub(super) policy: &'a Policy,
}

impl<'a> Site<'a> {
    /// The name of an event.
    pub(super) fn name(&self, kind: u16) -> &'a str {
        self.plan(kind).name.as_str()
    }

    fn plan(&self, kind: u16) -> &'a ArchivedEventPlan {
        &self.program.events[usize::from(kind)]
    }

    /// The event that is judged and has this name; or the only one that is judged.
    pub(super) fn event(&self, name: Option<&str>) -> Result<u16, Fault> {
        let judged = || self.program.events.iter().filter(|event| event.decide.is_some());
        let names: Vec<&str> = judged().map(|event| event.name.as_str()).collect();
        let choices = match names.as_slice() {
            [] => "it judges none: decide on one with `decide`".to_owned(),
            names => format!("it judges {}", names.join(", ")),
        };
        let chosen = match (name, names.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, _) => {
                let message = "the policy does not judge exactly one event, so one has to be named";
                return Err(Problem::new(message, choices).at("--event"));
            }
        };
        match encode::event(self.program, chosen) {
            Some((kind, plan)) if plan.decide.is_some() => Ok(kind),
            _ => {
                let message = format!("the policy judges no event {}", shown_text(chosen));
                Err(Problem::new(message, choices).at("--event"))
            }
        }
    }

    /// The columns with these names, of fields, features and models; or all fields that an event has, then all features.
    pub(super) fn features(&self, kind: u16, names: &[String]) -> Result<Vec<Feature>, Fault> {
        let all = self.all(kind);
        if names.is_empty() {
            // What a model said is nothing to train another one on, unless it is asked for.
            return Ok(all.into_iter().filter(|column| column.of != "model").collect());
        }
        let find = |name: &String| {
            if let Some(found) = all.iter().find(|column| column.name == *name) {
                return Ok(found.clone());
            }
            let event = self.name(kind);
            let message = if self.program.features.iter().any(|feature| feature.name.as_str() == name) {
                format!("{event} does not have the feature {}", shown_text(name))
            } else if let Some(field) =
                self.plan(kind).fields.iter().find(|field| field.name.as_str() == name)
            {
                format!("{} is {}, and not a number", shown_text(name), nature(field))
            } else {
                format!("{event} has no field or feature {}", shown_text(name))
            };
            let known: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
            Err(Problem::new(message, format!("its numbers are {}", known.join(", "))).at("--columns"))
        };
        names.iter().map(find).collect()
    }

    /// All numbers of an event.
    fn all(&self, kind: u16) -> Vec<Feature> {
        let plan = self.plan(kind);
        let fields = plan.fields.iter().flat_map(|field| field_columns(field, "", "field"));
        let has = |index: &usize| {
            plan.windows.iter().any(|window| usize::from(window.feature.to_native()) == *index)
                || matches!(&self.policy.features.get(*index).map(|feature| &feature.kind),
                    Some(FeatureKind::Scalar { event, .. }) if event.0 == kind)
        };
        let features = (0..self.program.features.len()).filter(has).map(|index| self.feature(index));
        let models = self.program.models.iter().enumerate();
        let models = models.filter(|(_, model)| model.event.to_native() == kind);
        let models = models.map(|(number, model)| Feature {
            name: model.name.as_str().to_owned(),
            number: Number::Feature { index: self.program.features.len() + number, per_unit: 1 },
            of: "model",
            unit: "decimal".to_owned(),
            words: Vec::new(),
        });
        fields.chain(features).chain(models).collect()
    }

    fn feature(&self, index: usize) -> Feature {
        let (mut words, mut per_unit) = (Vec::new(), 1);
        let unit = match self.policy.features.get(index).map(|feature| feature.ty) {
            Some(Type::Enum(event, field)) => {
                let field = &self.policy.events[event.index()].fields[field.index()];
                if let FieldType::Enum(of) = &field.ty {
                    words.clone_from(of);
                }
                "ordinal".to_owned()
            }
            Some(Type::Money(currency)) => {
                per_unit = 10_i64.pow(currency.exponent());
                currency.alpha().to_owned()
            }
            Some(Type::Duration) => {
                per_unit = SECOND;
                "s".to_owned()
            }
            Some(ty) => unit(ty).to_owned(),
            None => "number".to_owned(),
        };
        let number = Number::Feature { index, per_unit };
        let name = self.program.features[index].name.as_str().to_owned();
        Feature { name, number, of: "feature", unit, words }
    }

    /// The columns of a field of an amendment of this event, and the amendment's number on the wire.
    pub(super) fn label(&self, kind: u16, name: &str) -> Result<(u16, Vec<Feature>), Fault> {
        let amends = |plan: &ArchivedEventPlan| plan.amends.to_native() == kind && kind != NONE;
        let known = self.program.events.iter().filter(|plan| amends(plan)).flat_map(|plan| {
            let fields = plan.fields.iter().filter(|field| !field_columns(field, "", "label").is_empty());
            fields.map(|field| format!("{}.{}", plan.name, field.name))
        });
        let known: Vec<String> = known.collect();
        let help = match known.as_slice() {
            [] => format!("no amendment of {} has a field that is a number", self.name(kind)),
            known => format!("labels of {} are {}", self.name(kind), known.join(", ")),
        };
        let fault = |message: String| Problem::new(message, help).at("--labels");
        let Some((amendment, field)) = name.split_once('.') else {
            return Err(fault(format!("{} is not AMENDMENT.FIELD", shown_text(name))));
        };
        let found = encode::event(self.program, amendment).filter(|(_, plan)| amends(plan));
        let Some((amendment, plan)) = found else {
            let message = format!("{} is no amendment of {}", shown_text(amendment), self.name(kind));
            return Err(fault(message));
        };
        let Some(field) = plan.fields.iter().find(|known| known.name.as_str() == field) else {
            return Err(fault(format!("{} has no field {}", plan.name, shown_text(field))));
        };
        let columns = field_columns(field, &format!("{}.", plan.name), "label");
        if columns.is_empty() {
            return Err(fault(format!("{} is {}, and not a number", shown_text(name), nature(field))));
        }
        Ok((amendment, columns))
    }
}

/// The columns of a field: one; of money its currency too; of what is not a number none.
fn field_columns(field: &ArchivedFieldPlan, before: &str, of: &'static str) -> Vec<Feature> {
    let name = format!("{before}{}", field.name);
    let (reading, unit) = match field.kind {
        ArchivedFieldKind::Bool => (Reading::Whole, "bool"),
        ArchivedFieldKind::Int => (Reading::Whole, "int"),
        ArchivedFieldKind::Decimal => (Reading::Decimal, "decimal"),
        ArchivedFieldKind::Money => (Reading::Money, ""),
        ArchivedFieldKind::Enum => (Reading::Whole, "ordinal"),
        ArchivedFieldKind::Country => (Reading::Whole, "country"),
        ArchivedFieldKind::Currency => (Reading::Whole, "currency"),
        ArchivedFieldKind::Mcc => (Reading::Whole, "mcc"),
        ArchivedFieldKind::Bin => (Reading::Whole, "bin"),
        ArchivedFieldKind::Time => (Reading::Whole, "us since 1970"),
        ArchivedFieldKind::Duration => (Reading::Duration, "s"),
        ArchivedFieldKind::Entity
        | ArchivedFieldKind::Rate
        | ArchivedFieldKind::Geo
        | ArchivedFieldKind::Text
        | ArchivedFieldKind::Ip => return Vec::new(),
    };
    let column = |name: String, reading, unit: String| Feature {
        name,
        number: Number::Field(FieldAt { word: usize::from(field.word.to_native()), bit: field.bit, reading }),
        of,
        unit,
        words: field.labels.iter().map(|word| word.as_str().to_owned()).collect(),
    };
    if matches!(reading, Reading::Money) {
        let currency = format!("{name}.currency");
        let amount = column(name, reading, format!("of {currency}"));
        return vec![amount, column(currency, Reading::Currency, "currency".to_owned())];
    }
    vec![column(name, reading, unit.to_owned())]
}

/// What a field is that is no number.
fn nature(field: &ArchivedFieldPlan) -> &'static str {
    match field.kind {
        ArchivedFieldKind::Entity => "a key",
        ArchivedFieldKind::Geo => "a place",
        ArchivedFieldKind::Text => "a text",
        ArchivedFieldKind::Ip => "an address",
        _ => "several numbers",
    }
}

/// The unit of a feature that is neither money nor of an enum.
fn unit(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::Decimal => "decimal",
        Type::Duration => "s",
        Type::Distance => "m",
        Type::Speed => "km/h",
        Type::Country => "country",
        Type::Currency => "currency",
        Type::Mcc => "mcc",
        Type::Bin => "bin",
        Type::Time => "us since 1970",
        Type::Money(_) | Type::AnyMoney => "money",
        Type::Enum(..) => "ordinal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_divided_exactly_before_it_is_rounded() {
        let cents = |minor: i64| item(in_units(Value::int(minor), 100));
        assert_eq!(cents(5716), Item::Real(57.16));
        assert_eq!(cents(-1), Item::Real(-0.01));
        // An average of cents: one division, and not two.
        let mean = Value::ratio(10_001, 3);
        assert_eq!(item(in_units(mean, 100)), Item::Real(10_001.0 / 300.0));
        // What does not fit is reduced, and missing when that does not help.
        assert_eq!(item(in_units(Value::ratio(200, i64::MAX / 2), 100)), {
            Item::Real(2.0 / (i64::MAX / 2) as f64)
        });
        assert_eq!(item(in_units(Value::ratio(1, i64::MAX), 100)), Item::Missing);
        assert_eq!(item(in_units(Value::MISSING, 100)), Item::Missing);
    }
}

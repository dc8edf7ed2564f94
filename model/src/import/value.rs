//! A tree of values, as JSON and UBJSON say it, built by either reader and looked into by path.
//!
//! Lists of numbers are kept as numbers, since models are little else. Real numbers are f32, which is all that XGBoost has:
//! text is rounded to them once.

use super::{ImportError, shown};
use std::borrow::Cow;

/// The deepest that lists and maps lie in each other.
const DEPTH_MAX: usize = 32;
/// The most values that are not numbers in lists.
const VALUES_MAX: usize = 1 << 22;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// A whole number; true is 1, and false is 0.
    Int(i64),
    /// Any other number.
    Real(f32),
    /// A text.
    Text(String),
    /// A list of whole numbers, not empty.
    Ints(Vec<i64>),
    /// A list of numbers that are not all whole.
    Reals(Vec<f32>),
    /// Any other list.
    List(Vec<Value>),
    /// Named values, in the order of the file.
    Map(Vec<(String, Value)>),
}

/// A list or map that is not closed yet.
enum Open {
    List(Value),
    Map(Vec<(String, Value)>, Option<String>),
}

/// Values while they are read.
pub(super) struct Builder {
    open: Vec<Open>,
    done: Option<Value>,
    count: usize,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), done: None, count: 0 }
    }

    /// Whether a list or map is open, and which: true for a map.
    pub(super) fn is_in_map(&self) -> Option<bool> {
        self.open.last().map(|open| matches!(open, Open::Map(..)))
    }

    /// Whether the whole value is there.
    pub(super) fn is_done(&self) -> bool {
        self.done.is_some()
    }

    pub(super) fn open_list(&mut self) -> Result<(), String> {
        self.open(Open::List(Value::List(Vec::new())))
    }

    pub(super) fn open_map(&mut self) -> Result<(), String> {
        self.open(Open::Map(Vec::new(), None))
    }

    fn open(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() == DEPTH_MAX {
            return Err(format!("lists and maps lie more than {DEPTH_MAX} deep in each other"));
        }
        self.open.push(open);
        Ok(())
    }

    /// The name of the next value of the map that is open.
    pub(super) fn name(&mut self, name: String) -> Result<(), String> {
        match self.open.last_mut() {
            Some(Open::Map(_, waiting @ None)) => {
                *waiting = Some(name);
                Ok(())
            }
            _ => Err("a name stands where none can".to_owned()),
        }
    }

    /// Closes the list or map that is open.
    pub(super) fn close(&mut self) -> Result<(), String> {
        match self.open.pop() {
            Some(Open::List(list)) => self.value(list),
            Some(Open::Map(map, None)) => self.value(Value::Map(map)),
            _ => Err("something is closed that is not open, or a name has no value".to_owned()),
        }
    }

    pub(super) fn value(&mut self, value: Value) -> Result<(), String> {
        let is_counted = match self.open.last() {
            Some(Open::List(_)) => !matches!(value, Value::Int(_) | Value::Real(_)),
            _ => true,
        };
        self.count += usize::from(is_counted);
        if self.count > VALUES_MAX {
            return Err(format!("there are more than {VALUES_MAX} values"));
        }
        match self.open.last_mut() {
            None if self.done.is_some() => return Err("something follows the value".to_owned()),
            None => self.done = Some(value),
            Some(Open::List(list)) => push(list, value)?,
            Some(Open::Map(map, waiting)) => match waiting.take() {
                None => return Err("a value has no name".to_owned()),
                // Maps are small.
                Some(name) if map.len() < 64 && map.iter().any(|(other, _)| *other == name) => {
                    return Err(format!("the name {} stands twice", shown(&name)));
                }
                Some(name) => map.push((name, value)),
            },
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Option<Value> {
        self.done
    }
}

fn push(list: &mut Value, value: Value) -> Result<(), String> {
    match (&mut *list, value) {
        (Value::List(values), Value::Int(number)) if values.is_empty() => *list = Value::Ints(vec![number]),
        (Value::List(values), Value::Real(number)) if values.is_empty() => *list = Value::Reals(vec![number]),
        (Value::List(values), value) => values.push(value),
        (Value::Ints(numbers), Value::Int(number)) => numbers.push(number),
        (Value::Reals(numbers), Value::Real(number)) => numbers.push(number),
        (Value::Reals(numbers), Value::Int(number)) => numbers.push(number as f32),
        (Value::Ints(numbers), Value::Real(number)) => {
            let mut reals: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
            reals.push(number);
            *list = Value::Reals(reals);
        }
        _ => return Err("a list has numbers and other things".to_owned()),
    }
    Ok(())
}

/// A value and the path to it, which errors tell.
pub(super) struct At<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> At<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// An error at this place.
    pub(super) fn error(&self, message: impl Into<String>) -> ImportError {
        let path = if self.path.is_empty() { "the model" } else { &self.path };
        ImportError::new(path, message)
    }

    /// The value of this name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<Self> {
        let Value::Map(map) = self.value else { return None };
        let (_, value) = map.iter().find(|(own, _)| own == name)?;
        let dot = if self.path.is_empty() { "" } else { "." };
        Some(Self { value, path: format!("{}{dot}{name}", self.path) })
    }

    /// The value of this name.
    pub(super) fn get(&self, name: &str) -> Result<Self, ImportError> {
        self.find(name).ok_or_else(|| self.error(format!("there has to be a map with {}", shown(name))))
    }

    /// The values of a list that holds no numbers.
    pub(super) fn items(&self) -> Result<Vec<Self>, ImportError> {
        let Value::List(values) = self.value else { return Err(self.error("it has to be a list")) };
        let item = |(number, value)| Self { value, path: format!("{}[{number}]", self.path) };
        Ok(values.iter().enumerate().map(item).collect())
    }

    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.error("it has to be a text")),
        }
    }

    /// A whole number, which XGBoost mostly writes as a text.
    pub(super) fn count(&self) -> Result<usize, ImportError> {
        let number = match self.value {
            Value::Text(text) => text.parse().ok(),
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.error("it has to be a whole number, not below 0"))
    }

    /// A list of whole numbers.
    pub(super) fn ints(&self) -> Result<&'a [i64], ImportError> {
        match self.value {
            Value::Ints(numbers) => Ok(numbers),
            Value::List(values) if values.is_empty() => Ok(&[]),
            _ => Err(self.error("it has to be a list of whole numbers")),
        }
    }

    /// A list of numbers.
    pub(super) fn reals(&self) -> Result<Cow<'a, [f32]>, ImportError> {
        match self.value {
            Value::Reals(numbers) => Ok(Cow::Borrowed(numbers)),
            Value::Ints(numbers) => Ok(numbers.iter().map(|number| *number as f32).collect()),
            Value::List(values) if values.is_empty() => Ok(Cow::Borrowed(&[])),
            _ => Err(self.error("it has to be a list of numbers")),
        }
    }
}

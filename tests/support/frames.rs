//! Frames, owned: where each field lives, and how an event is laid out in words.

use tollgate::engine::Loaded;
use tollgate::engine::orders::Order;
use tollgate::engine::program::Program;
use tollgate::engine::units::{Currency, EventId, Key, Time};
use tollgate::engine::wire::{AMEND_HEADER_WORDS, Admission, HEADER_WORDS, Input, PRESENCE_WORD, RATE_WORDS};
use tollgate::policy::typed::{Event, FieldType, Policy};
use tollgate::policy::{self, archive, lower::lower};
use tollgate::token::Tokenizer;

/// Where the compiler put the fields of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Words in all.
    pub words: usize,
    /// (first word, presence bit) by field.
    pub fields: Vec<(usize, u32)>,
}

/// A policy, and what an engine and an oracle of it begin with.
pub struct Compiled {
    pub policy: Policy,
    pub tokenizer: Tokenizer,
    pub layouts: Vec<Layout>,
    pub loaded: Loaded,
}

/// From its text, which must have no mistakes.
pub fn compiled(text: &str) -> Compiled {
    let policy = policy::check(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let tokenizer = Tokenizer::default();
    let program = lower(&policy, &tokenizer).expect("the policy lowers");
    let layouts = Layout::compiled(&policy, &program);
    let loaded = archive::open(archive::seal(&program)).expect("the program opens");
    Compiled { policy, tokenizer, layouts, loaded }
}

/// Words that a field of this type takes.
pub fn width(ty: &FieldType) -> usize {
    match ty {
        FieldType::Money | FieldType::Entity(_) | FieldType::Ip => 2,
        FieldType::Text(bytes) => usize::from(*bytes).div_ceil(8),
        FieldType::Bool
        | FieldType::Int
        | FieldType::Decimal
        | FieldType::Enum(_)
        | FieldType::Geo
        | FieldType::Country
        | FieldType::Currency
        | FieldType::Mcc
        | FieldType::Bin
        | FieldType::Time
        | FieldType::Duration => 1,
    }
}

pub fn header_words(event: &Event) -> usize {
    if event.amends.is_some() { AMEND_HEADER_WORDS } else { HEADER_WORDS }
}

impl Layout {
    /// Fields one after the other: for tests that have no compiled program.
    pub fn sequential(event: &Event) -> Self {
        let mut words = header_words(event);
        let mut fields = Vec::new();
        for (bit, field) in event.fields.iter().enumerate() {
            fields.push((words, bit as u32));
            words += width(&field.ty);
        }
        Self { words, fields }
    }

    pub fn all_sequential(policy: &Policy) -> Vec<Self> {
        let events = policy.events.iter().map(Self::sequential);
        events.chain(policy.rates.as_ref().map(|_| Self::rate())).collect()
    }

    /// Of the event that brings rates: two currencies, and the two parts of the rate.
    pub fn rate() -> Self {
        Self { words: RATE_WORDS, fields: vec![(4, 0), (5, 1), (6, 2)] }
    }

    /// As compiled; panics when fields overlap, leave gaps, or share a presence bit.
    pub fn compiled(policy: &Policy, program: &Program) -> Vec<Self> {
        let rates = usize::from(policy.rates.is_some());
        assert_eq!(policy.events.len() + rates, program.events.len());
        let layout = |(event, plan): (&Event, &tollgate::engine::program::EventPlan)| {
            assert_eq!(event.fields.len(), plan.fields.len(), "fields of {}", event.name);
            let words = usize::from(plan.words);
            let fields: Vec<_> =
                plan.fields.iter().map(|f| (usize::from(f.word), u32::from(f.bit))).collect();
            let mut uses = vec![0; words];
            uses[..header_words(event)].fill(1);
            let mut bits = 0_u64;
            for ((word, bit), field) in fields.iter().zip(&event.fields) {
                (0..width(&field.ty)).for_each(|i| uses[word + i] += 1);
                assert_eq!(bits & 1 << bit, 0, "two fields of {} share a presence bit", event.name);
                bits |= 1 << bit;
            }
            assert!(uses.iter().all(|&n| n == 1), "words of {} overlap or are unused: {uses:?}", event.name);
            Self { words, fields }
        };
        let events = policy.events.iter().zip(&program.events).map(layout);
        events.chain(policy.rates.as_ref().map(|_| Self::rate())).collect()
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Number(i64),
    Cash(i64, Currency),
    Key(Key),
    Rate(u64, u64),
    /// A text or an address: so many words.
    Words([u64; 8], usize),
}

impl Cell {
    /// A text in a field of so many words.
    pub fn text(text: &str, words: usize) -> Self {
        let mut bytes = [0; 64];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let mut held = [0; 8];
        for (word, bytes) in held.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        Self::Words(held, words)
    }

    pub fn address(address: u128) -> Self {
        Self::Words([(address >> 64) as u64, address as u64, 0, 0, 0, 0, 0, 0], 2)
    }
}

/// An input that owns its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub principal: u32,
    pub kind: u16,
    pub admission: Admission,
    pub received: Time,
    pub words: Vec<u64>,
    /// What is ordered before it comes, each with the time at which it is given.
    pub orders: Vec<(Order, Time)>,
}

impl Frame {
    pub fn input(&self) -> Input<'_> {
        Input {
            principal: self.principal,
            kind: self.kind,
            admission: self.admission,
            received: self.received,
            words: &self.words,
        }
    }
}

/// The words of one event.
pub fn encode(
    layout: &Layout,
    id: EventId,
    time: i64,
    target: Option<(EventId, i64)>,
    cells: &[Option<Cell>],
) -> Vec<u64> {
    let mut words = vec![0; layout.words];
    words[0] = id.0[0];
    words[1] = id.0[1];
    words[2] = time as u64;
    if let Some((id, time)) = target {
        words[4] = id.0[0];
        words[5] = id.0[1];
        words[6] = time as u64;
    }
    for (cell, &(word, bit)) in cells.iter().zip(&layout.fields) {
        let Some(cell) = cell else { continue };
        words[PRESENCE_WORD] |= 1 << bit;
        match cell {
            Cell::Number(number) => words[word] = *number as u64,
            Cell::Cash(minor, currency) => {
                words[word] = *minor as u64;
                words[word + 1] = u64::from(currency.0);
            }
            Cell::Rate(num, den) => words[word..word + 2].copy_from_slice(&[*num, *den]),
            Cell::Words(held, count) => words[word..word + count].copy_from_slice(&held[..*count]),
            Cell::Key(key) => words[word..word + 2].copy_from_slice(&key.0),
        }
    }
    words
}

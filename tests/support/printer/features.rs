//! Features: aggregates and their clauses.

use super::expressions::Context;
use super::{Printer, keys};
use crate::support::oracle::sources;
use std::collections::BTreeMap;
use tollgate::engine::program::Assume;
use tollgate::policy::typed::{
    Aggregate, By, EventIx, Expr, Feature, FeatureKind, FieldIx, Frame, Period, Source, Window,
};

/// A clause of a feature.
#[derive(Clone, Copy, PartialEq)]
enum Clause {
    By,
    Via,
    Frame,
    Delayed,
    Against,
    Zone,
    HalfLife,
    Assume,
}

impl Printer<'_> {
    pub(super) fn feature(&mut self, feature: &Feature) {
        self.page.words(&format!("feature {}", feature.name));
        let window = match &feature.kind {
            FeatureKind::Scalar { event, expr } => {
                let name = self.event_name(*event);
                self.page.words(&format!("on {name} ="));
                return self.expr(expr, Context::of(*event), 0);
            }
            FeatureKind::Window(window) => window,
        };
        self.page.put("=");
        self.aggregate(&window.aggregate);
        for clause in self.clauses(feature, window) {
            self.clause(clause, feature, window);
        }
    }

    fn clauses(&mut self, feature: &Feature, window: &Window) -> Vec<Clause> {
        let against = against(&window.aggregate);
        let frames = [Some(&window.frame), against.map(|(frame, _)| frame)];
        let is_calendar = frames.into_iter().flatten().any(|frame| matches!(frame, Frame::This { .. }));
        let mut clauses = vec![Clause::By];
        if !self.via(window).is_empty() {
            clauses.push(Clause::Via);
        }
        clauses.push(Clause::Frame);
        let further = [
            (window.delay_us > 0, Clause::Delayed),
            (against.is_some(), Clause::Against),
            (half_life(&window.aggregate).is_some(), Clause::HalfLife),
            (is_calendar || matches!(window.aggregate, Aggregate::Days(..)), Clause::Zone),
            (feature.assume.is_some(), Clause::Assume),
        ];
        clauses.extend(further.into_iter().filter(|(there, _)| *there).map(|(_, clause)| clause));
        self.page.shuffle(&mut clauses);
        // Behind the aggregate a zone would be one of its own, and behind `against` a delay its delay.
        if clauses[0] == Clause::Zone {
            clauses.swap(0, 1);
        }
        for at in 1..clauses.len() {
            if clauses[at - 1..=at] == [Clause::Against, Clause::Delayed] {
                clauses.swap(at - 1, at);
            }
        }
        clauses
    }

    fn clause(&mut self, clause: Clause, feature: &Feature, window: &Window) {
        match clause {
            Clause::By => {
                self.page.put("by");
                let mut kinds: Vec<_> =
                    window.by.each().map(|kind| self.policy.entities[kind.index()].as_str()).collect();
                if let [only] = kinds[..] {
                    return self.page.put(only);
                }
                self.page.shuffle(&mut kinds);
                self.page.opening("(");
                self.page.put(kinds[0]);
                self.page.tight(",");
                self.page.put(kinds[1]);
                self.page.tight(")");
            }
            Clause::Via => {
                self.page.put("via");
                for (at, (event, field)) in self.via(window).into_iter().enumerate() {
                    self.page.comma(at);
                    let event = &self.policy.events[event.index()];
                    self.path(&event.name, &event.fields[field.index()].name);
                }
            }
            Clause::Frame => self.frame(&window.frame),
            Clause::Delayed => {
                self.page.put("delayed");
                self.duration(window.delay_us);
            }
            Clause::Against => {
                let (frame, delay_us) = against(&window.aggregate).expect("a comparison");
                self.page.put("against");
                self.frame(frame);
                if delay_us > 0 {
                    self.page.put("delayed");
                    self.duration(delay_us);
                }
            }
            Clause::Zone => {
                let of = |frame: &Frame| match frame {
                    Frame::This { zone, .. } => Some(zone.clone()),
                    _ => None,
                };
                let days = match &window.aggregate {
                    Aggregate::Days(_, zone) => Some(zone.clone()),
                    _ => None,
                };
                let zone =
                    of(&window.frame).or(days).or_else(|| of(against(&window.aggregate)?.0)).expect("a zone");
                self.page.put("in");
                self.zone(&zone);
            }
            Clause::HalfLife => {
                self.page.put("half_life");
                self.duration(half_life(&window.aggregate).expect("a half-life"));
            }
            Clause::Assume => {
                let word = if feature.assume == Some(Assume::High) { "high" } else { "low" };
                self.page.words(&format!("assume {word}"));
            }
        }
    }

    /// The fields that have to be named so that each event is looked up by its key.
    fn via(&self, window: &Window) -> Vec<(EventIx, FieldIx)> {
        let mut roles: BTreeMap<EventIx, By<FieldIx>> = window.judged_by.iter().copied().collect();
        roles.extend(sources(&window.aggregate).into_iter().map(|source| (source.event, source.role)));
        let mut via = Vec::new();
        for (event, role) in roles {
            let fields = &self.policy.events[event.index()];
            let is_only = |kind| keys(fields, kind).len() == 1;
            if window.by.second() == Some(window.by.first()) || !window.by.each().all(is_only) {
                via.extend(role.each().map(|field| (event, field)));
            }
        }
        via
    }

    fn frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Last { span_us } => {
                self.page.put("last");
                self.duration(*span_us);
            }
            Frame::Events { count, span_us } => {
                self.page.put("last");
                self.whole_number(u64::from(*count));
                self.page.words("events within");
                self.duration(*span_us);
            }
            Frame::Every { span_us } => {
                self.page.put("every");
                self.duration(*span_us);
            }
            Frame::This { period, .. } => self.page.words(match period {
                Period::Hour => "this hour",
                Period::Day => "this day",
                Period::Week => "this week",
                Period::Month => "this month",
            }),
            Frame::Session { gap_us, span_us } => {
                self.page.words("session gap");
                self.duration(*gap_us);
                self.page.put("within");
                self.duration(*span_us);
            }
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        let name = match aggregate {
            Aggregate::Count(_) => "count",
            Aggregate::Sum(..) => "sum",
            Aggregate::Avg(..) => "avg",
            Aggregate::Min(..) => "min",
            Aggregate::Max(..) => "max",
            Aggregate::DistinctKeys(..) | Aggregate::DistinctValues(..) => "distinct",
            Aggregate::Ratio(..) => "ratio",
            Aggregate::Stddev(..) => "stddev",
            Aggregate::First(..) => "first",
            Aggregate::Last(..) => "last",
            Aggregate::ShareKeys(..) | Aggregate::ShareValues(..) => "share",
            Aggregate::Percentile(..) => "percentile",
            Aggregate::Change { .. } => "change",
            Aggregate::DecayedCount(..) => "decayed_count",
            Aggregate::DecayedSum(..) => "decayed_sum",
            Aggregate::SinceLast(_) => "since_last",
            Aggregate::SinceFirst(_) => "since_first",
            Aggregate::Distance(..) => "distance",
            Aggregate::Speed(..) => "speed",
            Aggregate::SeenKey(..) | Aggregate::SeenValue(..) => "seen",
            Aggregate::Days(..) => "days",
        };
        self.called(name);
        match aggregate {
            Aggregate::Count(source)
            | Aggregate::DecayedCount(source, _)
            | Aggregate::SinceLast(source)
            | Aggregate::SinceFirst(source)
            | Aggregate::Days(source, _) => self.counted(source),
            Aggregate::Ratio(over, under) => {
                self.counted(over);
                self.page.tight(",");
                self.counted(under);
            }
            Aggregate::DistinctKeys(source, field)
            | Aggregate::ShareKeys(source, field)
            | Aggregate::SeenKey(source, field)
            | Aggregate::Distance(source, field)
            | Aggregate::Speed(source, field) => {
                let event = &self.policy.events[source.event.index()];
                self.path(&event.name, &event.fields[field.index()].name);
                self.filter(source);
            }
            Aggregate::Percentile(percent, source, value) => {
                self.page.put(&percent.to_string());
                self.page.tight(",");
                self.valued(source, value);
            }
            Aggregate::Sum(source, value)
            | Aggregate::Avg(source, value)
            | Aggregate::Min(source, value)
            | Aggregate::Max(source, value)
            | Aggregate::DistinctValues(source, value)
            | Aggregate::Stddev(source, value)
            | Aggregate::First(source, value)
            | Aggregate::Last(source, value)
            | Aggregate::ShareValues(source, value)
            | Aggregate::DecayedSum(source, value, _)
            | Aggregate::SeenValue(source, value) => self.valued(source, value),
            Aggregate::Change { of, .. } => self.aggregate(of),
        }
        self.page.tight(")");
    }

    fn counted(&mut self, source: &Source) {
        let event = self.event_name(source.event);
        self.page.put(&event);
        self.filter(source);
    }

    fn valued(&mut self, source: &Source, value: &Expr) {
        self.expr(value, Context { event: source.event, aggregated: true }, 0);
        self.filter(source);
    }

    fn filter(&mut self, source: &Source) {
        if let Some(filter) = &source.filter {
            self.page.put("where");
            self.expr(filter, Context::of(source.event), 0);
        }
    }
}

fn against(aggregate: &Aggregate) -> Option<(&Frame, i64)> {
    match aggregate {
        Aggregate::Change { against, delay_us, .. } => Some((against, *delay_us)),
        _ => None,
    }
}

fn half_life(aggregate: &Aggregate) -> Option<i64> {
    match aggregate {
        Aggregate::DecayedCount(_, half_life_us) | Aggregate::DecayedSum(_, _, half_life_us) => {
            Some(*half_life_us)
        }
        _ => None,
    }
}

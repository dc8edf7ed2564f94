//! The clauses of a feature: its window, what it is compared with, its time zone, its half-life.

use super::{Checker, literals};
use crate::engine::program::Assume;
use crate::engine::units::DAY;
use crate::policy::ast::{self, Named};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{FRAME_EVENTS_MAX, Frame, Period, WINDOW_MAX_DAYS};

/// All clauses of a feature.
pub(super) const CLAUSES: &[K] = &[
    K::ByClause,
    K::ViaClause,
    K::LastClause,
    K::EveryClause,
    K::ThisClause,
    K::SessionClause,
    K::ZoneClause,
    K::AgainstClause,
    K::HalfLifeClause,
    K::DelayedClause,
    K::AssumeClause,
];
/// Those that are windows.
const FRAMES: &[K] = &[K::LastClause, K::EveryClause, K::ThisClause, K::SessionClause];

/// What the clauses of a feature say besides its key.
pub(super) struct Clauses {
    pub(super) frame: Frame,
    pub(super) delay_us: i64,
    /// The other side of a change, and its delay.
    pub(super) against: Option<(Frame, i64)>,
    pub(super) half_life_us: Option<i64>,
    /// IANA name.
    pub(super) zone: Option<String>,
}

/// What `assume` says, if it is there.
pub(super) fn assumed(node: &SyntaxNode) -> Option<Assume> {
    let word = ast::tokens(&ast::child(node, K::AssumeClause)?).nth(1)?;
    match word.text() {
        "high" => Some(Assume::High),
        "low" => Some(Assume::Low),
        _ => None,
    }
}

impl Checker<'_> {
    pub(super) fn clauses_once(&mut self, node: &SyntaxNode) -> bool {
        let mut once = true;
        for kind in CLAUSES {
            if let Some(second) = ast::children(node, *kind).nth(1) {
                let word = ast::tokens(&second).next().map(|word| word.text().to_owned()).unwrap_or_default();
                let help = "a feature has one window by one kind of key; declare another feature for another";
                self.push(ast::span(&second), format!("`{word}` is there twice"), "again here", help);
                once = false;
            }
        }
        let mut frames = node.children().filter(|child| FRAMES.contains(&child.kind()));
        if let (true, Some(_), Some(second)) = (once, frames.next(), frames.next()) {
            let help = "a feature has one window; to compare two, write `change(…) … against …`";
            self.push(ast::span(&second), "this feature has two windows", "a second one", help);
            once = false;
        }
        once
    }

    /// The clauses of a feature that computes `function`.
    pub(super) fn clauses(&mut self, node: &SyntaxNode, name: &Named, function: &str) -> Option<Clauses> {
        let zone_clause = ast::child(node, K::ZoneClause);
        let zone = match &zone_clause {
            Some(clause) => Some(self.zone_named(&ast::token(clause, K::Text)?)?),
            None => None,
        };
        let own = self.frame(node, name, zone.as_deref());
        let against_clause = ast::child(node, K::AgainstClause);
        let against = match (&against_clause, function) {
            (Some(clause), "change") => Some(self.frame(clause, name, zone.as_deref())),
            (Some(clause), _) => {
                let help = "for example: change(count(payment)) by card last 1h against last 1h delayed 1d";
                self.push(ast::span(clause), "`against` belongs to `change`", "nothing to compare", help);
                return None;
            }
            (None, "change") => {
                let help = "say what it is compared with, as in `last 1h against last 1h delayed 1d`";
                self.push(
                    name.span,
                    format!("the feature `{}` is compared with nothing", name.text),
                    "`against WINDOW` is missing",
                    help,
                );
                return None;
            }
            (None, _) => None,
        };
        let half_life_us = self.half_life(node, name, function)?;
        let is_calendar = |node: &SyntaxNode| ast::child(node, K::ThisClause).is_some();
        if let Some(clause) = &zone_clause
            && function != "days"
            && !is_calendar(node)
            && !against_clause.as_ref().is_some_and(is_calendar)
        {
            let help =
                "days are counted, and windows such as `this day` begin, in a time zone; others have none";
            self.push(
                ast::span(clause),
                "this feature has no use for a time zone",
                "not possible here",
                help,
            );
            return None;
        }
        let (frame, delay_us) = own?;
        let against = match against {
            Some(side) => Some(side?),
            None => None,
        };
        Some(Clauses { frame, delay_us, against, half_life_us, zone })
    }

    fn half_life(&mut self, node: &SyntaxNode, name: &Named, function: &str) -> Option<Option<i64>> {
        let decays = matches!(function, "decayed_count" | "decayed_sum");
        let Some(clause) = ast::child(node, K::HalfLifeClause) else {
            if decays {
                let help = "say after which time an event counts half, as in `half_life 1d`";
                self.push(
                    name.span,
                    format!("the feature `{}` does not say how fast it decays", name.text),
                    "`half_life DURATION` is missing",
                    help,
                );
                return None;
            }
            return Some(None);
        };
        if !decays {
            let help = "for example: decayed_sum(payment.amount in USD) by card last 30d half_life 1d";
            let message = "`half_life` belongs to `decayed_count` and `decayed_sum`";
            self.push(ast::span(&clause), message, "nothing decays", help);
            return None;
        }
        let half_life_us = self.duration(&clause)?;
        if !(1..=WINDOW_MAX_DAYS * DAY).contains(&half_life_us) {
            let message = format!("a half-life is between 1us and {WINDOW_MAX_DAYS}d");
            self.push(ast::span(&clause), message, "outside", "for example: half_life 1d");
            return None;
        }
        Some(Some(half_life_us))
    }

    /// The window in a feature or after `against`, and its delay.
    fn frame(&mut self, node: &SyntaxNode, name: &Named, zone: Option<&str>) -> Option<(Frame, i64)> {
        let clause = node.children().find(|child| FRAMES.contains(&child.kind()));
        let Some(clause) = clause else {
            let message = format!("the feature `{}` is unbounded: it has no window", name.text);
            self.push(
                name.span,
                message,
                "`last DURATION` is missing",
                "say how far back it looks, as in `last 24h`",
            );
            return None;
        };
        let frame = match clause.kind() {
            K::ThisClause => self.calendar(&clause, zone)?,
            K::SessionClause => self.session(&clause)?,
            K::EveryClause => Frame::Every { span_us: self.duration(&clause)? },
            _ => match ast::token(&clause, K::Number) {
                Some(number) => {
                    let count = number.text().replace('_', "").parse().ok();
                    let count = count.filter(|count| (1..=FRAME_EVENTS_MAX).contains(count));
                    let Some(count) = count else {
                        let message =
                            format!("a window holds a whole number of events from 1 to {FRAME_EVENTS_MAX}");
                        let help = "for example: last 10 events within 30d";
                        self.push(ast::token_span(&number), message, "outside", help);
                        return None;
                    };
                    Frame::Events { count, span_us: self.duration(&clause)? }
                }
                None => Frame::Last { span_us: self.duration(&clause)? },
            },
        };
        let delayed = ast::child(node, K::DelayedClause);
        let delay_us = match &delayed {
            Some(clause) => self.duration(clause)?,
            None => 0,
        };
        let reach_us = frame.reach_us();
        if reach_us == 0 {
            let help =
                "the judged event alone is `feature NAME on EVENT = …`; a window looks back, as in `last 1h`";
            self.push(ast::span(&clause), "this window is empty", "nothing is in it", help);
            return None;
        }
        if reach_us.checked_add(delay_us).is_none_or(|total| total > WINDOW_MAX_DAYS * DAY) {
            let message = format!("this window is unbounded: more than {WINDOW_MAX_DAYS} days back");
            let what = if delayed.is_some() { "with the delay, too long" } else { "too long" };
            let help = format!("the engine keeps events for at most {WINDOW_MAX_DAYS} days, delay included");
            self.push(ast::span(&clause), message, what, help);
            return None;
        }
        Some((frame, delay_us))
    }

    fn calendar(&mut self, clause: &SyntaxNode, zone: Option<&str>) -> Option<Frame> {
        let word = ast::tokens(clause).nth(1)?;
        let period = match word.text() {
            "hour" => Period::Hour,
            "day" => Period::Day,
            "week" => Period::Week,
            _ => Period::Month,
        };
        let Some(zone) = zone else {
            let message = format!("`this {}` needs a time zone", word.text());
            let help = format!(
                "write `this {} in \"Europe/Paris\"`, or \"UTC\"; events carry no zone of their own",
                word.text()
            );
            self.push(ast::span(clause), message, "where?", help);
            return None;
        };
        Some(Frame::This { period, zone: zone.to_owned() })
    }

    fn session(&mut self, clause: &SyntaxNode) -> Option<Frame> {
        let mut durations = Vec::with_capacity(2);
        for token in ast::tokens(clause).filter(|token| token.kind() == K::Duration) {
            match literals::duration(token.text()) {
                Ok(us) => durations.push(us),
                Err((message, help)) => {
                    self.push(ast::token_span(&token), message, "this duration", help);
                    return None;
                }
            }
        }
        let [gap_us, span_us] = durations[..] else { return None };
        if gap_us == 0 || gap_us >= span_us {
            let help = "for example: session gap 10m within 1d";
            let message = "the gap of a session is longer than nothing and shorter than the session at most";
            self.push(ast::span(clause), message, "this gap", help);
            return None;
        }
        Some(Frame::Session { gap_us, span_us })
    }

    /// The duration in a clause, in microseconds.
    pub(super) fn duration(&mut self, clause: &SyntaxNode) -> Option<i64> {
        let token = ast::token(clause, K::Duration)?;
        match literals::duration(token.text()) {
            Ok(us) => Some(us),
            Err((message, help)) => {
                self.push(ast::token_span(&token), message, "this duration", help);
                None
            }
        }
    }
}

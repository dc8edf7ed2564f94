//! Scenes, and from when until when something is effective.

use super::expressions::{Place, Scope};
use super::{Checker, DECLARATIONS_MAX, Namespace};
use crate::engine::units::{TIME_END, TIME_MIN};
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use crate::policy::typed::{Effective, Expr, Scene, SceneIx};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

impl Checker<'_> {
    /// A scene without its rules.
    pub(super) fn scene(&mut self, node: &SyntaxNode) -> Option<SceneIx> {
        let (name, on) = (ast::name(node)?, ast::clause_name(node, K::OnClause)?);
        if self.policy.scenes.len() >= DECLARATIONS_MAX {
            self.too_many(node, DECLARATIONS_MAX);
            return None;
        }
        if !self.declare(Namespace::Rule, &name, "a scene") {
            return None;
        }
        let event = self.event_named(&on).filter(|event| self.judged(*event, &on, "scene"))?;
        if ast::child(node, K::RuleDecl).is_none() {
            let help = "write rules into it, as in `rule far { when travel > 900 km/h then score 60 }`";
            self.push(name.span, format!("the scene `{}` has no rules", name.text), "holds nothing", help);
        }
        let effective = self.effective(node);
        let when = ast::child(node, K::WhenClause).and_then(|clause| ast::expression(&clause))?;
        let when = self.condition(&when, Scope { event, place: Place::Rule });
        // Its rules are looked at even so.
        let when = when.unwrap_or(Expr::Score);
        self.policy.scenes.push(Scene { name: name.text, event, effective, when });
        Some(SceneIx((self.policy.scenes.len() - 1) as u16))
    }

    /// What the `effective` of a declaration says: always, when there is none.
    pub(super) fn effective(&mut self, node: &SyntaxNode) -> Effective {
        let mut clauses = ast::children(node, K::EffectiveClause);
        let Some(clause) = clauses.next() else { return Effective::default() };
        if let Some(second) = clauses.next() {
            let help = "write one `effective from … until …`";
            self.push(ast::span(&second), "`effective` is there twice", "again here", help);
        }
        let zone = match ast::token(&clause, K::Text) {
            Some(token) => self.zone_named(&token),
            None => Some("UTC".to_owned()),
        };
        let zone = zone.and_then(|name| TimeZoneDatabase::bundled().get(&name).ok());
        let Some(zone) = zone else { return Effective::default() };
        let mut effective = Effective::default();
        let mut word = String::new();
        for token in ast::tokens(&clause) {
            match token.kind() {
                K::Ident => token.text().clone_into(&mut word),
                K::Date if word == "from" => effective.from = self.instant(&token, &zone),
                K::Date => effective.until = self.instant(&token, &zone),
                _ => {}
            }
        }
        if let (Some(from), Some(until)) = (effective.from, effective.until)
            && from >= until
        {
            let help = "`until` is the first instant at which it no longer holds, and later than `from`";
            self.push(ast::span(&clause), "this is never effective", "no time is in between", help);
        }
        effective
    }

    /// The instant of a date in a zone, as [`Effective`] says.
    pub(super) fn instant(&mut self, token: &SyntaxToken, zone: &TimeZone) -> Option<i64> {
        let span = ast::token_span(token);
        let text = token.text();
        let parsed: Result<DateTime, _> = match text.contains('T') {
            true => text.parse(),
            false => format!("{text}T00:00").parse(),
        };
        let Ok(local) = parsed else {
            let help = "a date is written year-month-day, as in 2026-01-31, or with a time of day, as in 2026-01-31T08:30";
            self.push(span, format!("there is no date `{text}`"), "not in the calendar", help);
            return None;
        };
        let Some(instant) = instant_of(local, zone).filter(|at| (TIME_MIN.0..TIME_END.0).contains(at)) else {
            let help = "events are of 1970 to 2199; leave `from` or `until` out for no bound";
            self.push(span, "no event can be of this date", "outside", help);
            return None;
        };
        Some(instant)
    }
}

/// Microseconds since 1970-01-01T00:00Z of a local time: of two instants the earlier; of none, that at which clocks go
/// forward over it.
fn instant_of(local: DateTime, zone: &TimeZone) -> Option<i64> {
    let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
    let instant = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset)?,
        AmbiguousOffset::Fold { before, .. } => at(before)?,
        AmbiguousOffset::Gap { after, .. } => zone.following(at(after)?).next()?.timestamp(),
    };
    Some(instant.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::{HOUR, MINUTE};

    #[test]
    fn a_local_time_is_an_instant_also_where_clocks_change() {
        for (zone, local, expected) in [
            ("UTC", "1970-01-01T00:00", "1970-01-01T00:00Z"),
            ("Europe/Paris", "2026-01-31T08:30", "2026-01-31T07:30Z"),
            // Forward at 02:00, which is 01:00 UTC; back at 03:00, so that 02:30 is twice.
            ("Europe/Paris", "2026-03-29T02:30", "2026-03-29T01:00Z"),
            ("Europe/Paris", "2026-03-29T02:00", "2026-03-29T01:00Z"),
            ("Europe/Paris", "2026-03-29T03:00", "2026-03-29T01:00Z"),
            ("Europe/Paris", "2026-10-25T02:30", "2026-10-25T00:30Z"),
            // A day whose midnight does not exist, and one that does not exist at all.
            ("America/Sao_Paulo", "2017-10-15T00:00", "2017-10-15T03:00Z"),
            ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00Z"),
        ] {
            let expected: jiff::Timestamp = expected.parse().unwrap();
            let found = instant_of(local.parse().unwrap(), &TimeZoneDatabase::bundled().get(zone).unwrap());
            assert_eq!(found, Some(expected.as_microsecond()), "{local} in {zone}");
        }
    }

    #[test]
    fn it_is_effective_from_the_first_instant_to_before_the_last() {
        let effective = Effective { from: Some(HOUR), until: Some(2 * HOUR) };
        let holds = [HOUR - 1, HOUR, 2 * HOUR - 1, 2 * HOUR].map(|time| effective.holds_at(time));
        assert_eq!(holds, [false, true, true, false]);
        assert!(Effective { from: None, ..effective }.holds_at(0));
        assert!(Effective { until: None, ..effective }.holds_at(i64::MAX));
        assert!(Effective::default().holds_at(MINUTE));
    }
}

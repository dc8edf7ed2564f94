//! Local time: what the clocks of a zone show, and when the calendar period of an instant began.
//!
//! A zone is a table of offsets, each from an instant on (see [`ZonePlan`](super::program::ZonePlan)). A day, week or
//! month begins at the earliest instant whose local date is not before its first day. Where clocks go forward over
//! midnight that is the instant of the change; where they go back over it, the first of two midnights.

use super::program::{ArchivedPeriod, ArchivedZonePlan};
use super::units::{HOUR, SECOND, Time};

const DAY_S: i64 = 86_400;

/// No clock is further from UTC than this, in seconds.
const OFFSET_MAX_S: i64 = 2 * DAY_S;

fn offset_at(zone: &ArchivedZonePlan, time: Time) -> i64 {
    if let [only] = zone.offsets.as_slice() {
        return i64::from(only.to_native());
    }
    // The first start is i64::MIN, so at least one is not after `time`.
    let after = zone.starts.partition_point(|start| start.to_native() <= time.0);
    i64::from(zone.offsets[after - 1].to_native())
}

/// Seconds since 1970 on the clocks of `zone`.
#[inline]
fn local_seconds(zone: &ArchivedZonePlan, time: Time) -> i64 {
    time.0.div_euclid(SECOND) + offset_at(zone, time)
}

/// Whole weeks, in seconds: more than there are before 1970 on any clock, so that what is counted from there has no sign.
const BEFORE_S: i64 = 16_000_000 * 7 * DAY_S;
const _: () = assert!(BEFORE_S > i64::MAX / SECOND + OFFSET_MAX_S);

/// The hour on the clocks of `zone`.
#[inline(never)]
pub(super) fn hour(zone: &ArchivedZonePlan, time: Time) -> i64 {
    let shown = (local_seconds(zone, time) + BEFORE_S) as u64;
    (shown / 3600 % 24) as i64
}

/// The local weekday; Monday is 1.
#[inline(never)]
pub(super) fn weekday(zone: &ArchivedZonePlan, time: Time) -> i64 {
    let shown = (local_seconds(zone, time) + BEFORE_S) as u64;
    // 1970-01-01 was a Thursday, three days after a Monday.
    ((shown / DAY_S as u64 + 3) % 7 + 1) as i64
}

/// The local date, as a number of days since 1970.
pub(super) fn local_day(zone: &ArchivedZonePlan, time: Time) -> i64 {
    local_seconds(zone, time).div_euclid(DAY_S)
}

/// When the period that `time` is in began.
pub(super) fn period_start(zone: &ArchivedZonePlan, period: ArchivedPeriod, time: Time) -> i64 {
    let day = local_day(zone, time);
    let first = match period {
        ArchivedPeriod::Hour => {
            let local = time.0 + offset_at(zone, time) * SECOND;
            return time.0 - local.rem_euclid(HOUR);
        }
        ArchivedPeriod::Day => day,
        // 1970-01-01 was a Thursday, three days after a Monday.
        ArchivedPeriod::Week => day - (day + 3).rem_euclid(7),
        ArchivedPeriod::Month => day - day_of_month(day),
    };
    first_instant(zone, first * DAY_S)
}

/// The earliest instant at which the clocks show this or later, in µs.
fn first_instant(zone: &ArchivedZonePlan, local_s: i64) -> i64 {
    // By no offset can it be earlier than this.
    let earliest = (local_s - OFFSET_MAX_S) * SECOND;
    let mut segment = zone.starts.partition_point(|start| start.to_native() <= earliest) - 1;
    loop {
        let start = zone.starts[segment].to_native();
        let shown = (local_s - i64::from(zone.offsets[segment].to_native())) * SECOND;
        let found = shown.max(start);
        match zone.starts.get(segment + 1) {
            Some(end) if end.to_native() <= found => segment += 1,
            _ => return found,
        }
    }
}

/// How many days of its month lie before this day.
fn day_of_month(day: i64) -> i64 {
    // Counted in eras of 400 years that begin on March 1st, so that leap days come last.
    let shifted = day + 719_468;
    let in_era = shifted.rem_euclid(146_097);
    let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    in_year - (153 * month + 2) / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::program::{Period, ZonePlan};
    use jiff::Timestamp;
    use jiff::civil::{Date, Weekday};
    use jiff::tz::{TimeZone, TimeZoneDatabase};

    fn with_zone(name: &str, look: impl FnOnce(&ArchivedZonePlan, &TimeZone)) {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let mut plan = ZonePlan {
            name: name.into(),
            starts: vec![i64::MIN],
            offsets: vec![zone.to_offset(Timestamp::UNIX_EPOCH).seconds()],
        };
        let end = Timestamp::from_second(7_258_118_400).unwrap();
        for change in zone.following(Timestamp::UNIX_EPOCH).take_while(|change| change.timestamp() < end) {
            plan.starts.push(change.timestamp().as_microsecond());
            plan.offsets.push(change.offset().seconds());
        }
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&plan).unwrap();
        look(rkyv::access::<ArchivedZonePlan, rkyv::rancor::Error>(&bytes).unwrap(), &zone);
    }

    /// The truth, from the library that knows calendars.
    fn start(zone: &TimeZone, period: Period, time: i64) -> i64 {
        let local = Timestamp::from_microsecond(time).unwrap().to_zoned(zone.clone());
        let midnight = |date: Date| {
            date.to_zoned(zone.clone()).unwrap().start_of_day().unwrap().timestamp().as_microsecond()
        };
        match period {
            Period::Hour => {
                let local = local.datetime();
                let into = local.time().duration_since(jiff::civil::Time::constant(local.hour(), 0, 0, 0));
                time - into.as_micros() as i64
            }
            Period::Day => midnight(local.date()),
            Period::Week => {
                let date = local.date();
                midnight(if date.weekday() == Weekday::Monday {
                    date
                } else {
                    date.nth_weekday(-1, Weekday::Monday).unwrap()
                })
            }
            Period::Month => midnight(local.date().first_of_month()),
        }
    }

    const PERIODS: [(Period, ArchivedPeriod); 4] = [
        (Period::Hour, ArchivedPeriod::Hour),
        (Period::Day, ArchivedPeriod::Day),
        (Period::Week, ArchivedPeriod::Week),
        (Period::Month, ArchivedPeriod::Month),
    ];

    /// In every zone, around every change of its clocks until 2040: periods begin when they should, and none is longer
    /// than its reach.
    #[test]
    fn every_period_of_every_zone_begins_when_it_should() {
        let names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect();
        assert!(names.len() > 400);
        for name in names {
            with_zone(&name, |plan, zone| {
                let last = 2_208_988_800 * SECOND;
                let changes = plan
                    .starts
                    .iter()
                    .map(|start| start.to_native())
                    .filter(|start| (0..last).contains(start));
                for change in changes {
                    for hours in (-30..=30).step_by(5).chain([24 * 30]) {
                        for off in [-1, 0, 1] {
                            let time = change + hours * HOUR + off;
                            if time < 366 * 24 * HOUR {
                                continue;
                            }
                            for (period, archived) in PERIODS {
                                let began = period_start(plan, archived, Time(time));
                                assert_eq!(began, start(zone, period, time), "{name} {period:?} {time}");
                                assert!(
                                    began <= time && time - began < period.reach_us(),
                                    "{name} {period:?}"
                                );
                            }
                        }
                    }
                }
            });
        }
    }

    #[test]
    fn days_of_the_month_are_counted_from_zero() {
        let mut date = Date::constant(1970, 1, 1);
        for day in 0..84_000 {
            assert_eq!(day_of_month(day), i64::from(date.day()) - 1, "{date}");
            date = date.tomorrow().unwrap();
        }
    }
}

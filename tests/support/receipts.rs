//! When an event happens by the oracle's reading of the wall clock, and what a jump of that clock keeps from expiring.

use super::oracle::Tally;
use tollgate::engine::{Clock, Limits};

/// The receipts so far.
pub struct Receipts {
    limits: Limits,
    now: Option<i64>,
    /// The watermark before the first of the jumps that are not over, and the receipt of the last.
    jumps: Option<(i64, i64)>,
}

/// Whether time that moves by so much at once jumps.
pub fn is_jump(limits: &Limits, moved: i64) -> bool {
    limits.jump_us != 0 && moved > limits.jump_us
}

impl Receipts {
    pub fn new(limits: Limits) -> Self {
        Self { limits, now: None, jumps: None }
    }

    /// The time of an event that says it is of `event_time`.
    pub fn place(
        &mut self,
        event_time: i64,
        received: i64,
        shed: bool,
        watermark: Option<i64>,
        tally: &mut Tally,
    ) -> i64 {
        if self.limits.clock == Clock::Event {
            return event_time;
        }
        let now = self.now.map_or(received, |now| now.max(received));
        if !shed {
            let moved = self.now.map_or(0, |before| now - before);
            self.now = Some(now);
            self.watch_jumps(moved, now, watermark, tally);
        }
        if event_time > now + self.limits.skew_us {
            tally.skewed_ahead += 1;
            return now;
        }
        if event_time < now - self.limits.skew_us {
            tally.skewed_behind += 1;
            return now;
        }
        event_time
    }

    fn watch_jumps(&mut self, moved: i64, now: i64, watermark: Option<i64>, tally: &mut Tally) {
        if is_jump(&self.limits, moved) {
            tally.clock_jumps += 1;
            let first = self.jumps.map(|(watermark, _)| watermark);
            let watermark = first.or(watermark).expect("an event came before");
            self.jumps = Some((watermark, now));
        }
        let over = |(_, last): (i64, i64)| now >= last + self.limits.jump_us;
        self.jumps = self.jumps.filter(|&jumps| !over(jumps));
    }

    /// What expiry is reckoned from.
    pub fn mark(&self, watermark: Option<i64>) -> Option<i64> {
        self.jumps.map(|(before, _)| before).or(watermark)
    }

    /// Whether the last jump is too recent for anything to expire.
    pub fn expiry_frozen(&self) -> bool {
        self.jumps.is_some()
    }
}

//! `tollctl switch`: the events of a file, sent to a running appliance over its ring.
//!
//! The same events in the same order as `replay`, and the same columns: with `clock = "event"` and no limits
//! in the way, the two files are equal. Requests in flight are bounded by the ring; with a rate, each request
//! carries the time at which it was due, so that what waits is counted as waiting.

use crate::fault::{Fault, Problem};
use crate::files::Files;
use crate::link::{Link, LinkOptions, too_long};
use crate::output::Output;
use crate::rates;
use crate::replay::{Tally, progress_bar, refused};
use crate::sequence::Event;
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tollgate::engine::wire::{FLAG_REFUSED, Refusal};
use tollgate_ring::SendError;

/// Options of `switch`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    files: Files,
    /// The appliance's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Events per second; 0 sends as fast as the appliance answers.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Bytes of a request slot, as the appliance is configured.
    #[arg(long, default_value_t = 256)]
    slot_bytes: u32,
    /// Take verdicts only when their decisions are on disk.
    #[arg(long)]
    durable: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let (loaded, sequence, output) = options.files.open(false, false)?;
    let link = Link::connect(
        &loaded,
        &LinkOptions {
            socket: &options.socket,
            slot_bytes: options.slot_bytes,
            durable: options.durable,
            name: "tollctl switch",
            at_end: "no file was written",
        },
    )?;
    let progress = progress_bar(sequence.total());
    let mut switch = Switch {
        link,
        output,
        file: sequence.file().to_owned(),
        rates_file: options.files.rates_file(),
        tally: Tally::default(),
        pace: Pace::new(options.rate),
    };
    sequence.each_batch(|batch| {
        for index in 0..batch.len() {
            switch.send(&batch.event(index))?;
        }
        progress.set_position(batch.read);
        Ok(())
    })?;
    while switch.link.in_flight() > 0 {
        switch.receive(true)?;
    }
    progress.finish_and_clear();
    switch.output.finish()?;
    println!("{}", switch.tally.summary(started.elapsed().as_secs_f64(), None));
    Ok(())
}

/// When each request is due.
struct Pace {
    started: Instant,
    started_ns: u64,
    rate: u32,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { started: Instant::now(), started_ns: monotonic_ns(), rate }
    }

    /// How long after the start the request with this number is due; none without a rate.
    fn due(&self, number: u64) -> Option<Duration> {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate.max(1));
        (self.rate > 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// The clock that the ring's times are read from.
fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the call to fill, and the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A request that has not been answered.
struct InFlight {
    kind: u16,
    row: u64,
    rate: bool,
    id: Box<str>,
}

struct Switch {
    link: Link<InFlight>,
    output: Output,
    file: String,
    rates_file: String,
    tally: Tally,
    pace: Pace,
}

impl Switch {
    fn send(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let intended = match self.pace.due(self.link.sent()) {
            Some(due) => {
                while let Some(left) = due.checked_sub(self.pace.started.elapsed()) {
                    if !self.receive(false)? {
                        std::thread::sleep(left.min(Duration::from_micros(50)));
                    }
                }
                self.pace.started_ns + due.as_nanos() as u64
            }
            // Without a rate nothing is due: no deadline applies, and a policy's `late after` does not either.
            None => 0,
        };
        loop {
            let asked =
                || InFlight { kind: event.kind, row: event.row, rate: event.rate, id: event.id.into() };
            match self.link.send(event.kind, intended, event.words, asked) {
                Ok(()) => break,
                Err(SendError::Busy) => drop(self.receive(true)?),
                Err(SendError::TooLong { found, .. }) => {
                    return Err(too_long(found).at(format!("{}: row {}", self.file, event.row)).into());
                }
                Err(SendError::Closed(closed)) => return Err(self.link.closed(closed)),
            }
        }
        while self.receive(false)? {}
        Ok(())
    }

    /// Takes one verdict, if there is one; with `wait`, sleeps for it a while.
    fn receive(&mut self, wait: bool) -> anyhow::Result<bool> {
        let Some((asked, outcome)) = self.link.receive(wait)? else { return Ok(false) };
        if outcome.flags & FLAG_REFUSED != 0 {
            return Err(self.refusal(&asked, outcome.reasons[0]).into());
        }
        if asked.rate {
            self.tally.rates += 1;
            return Ok(true);
        }
        self.output.write(&asked.id, asked.kind, &outcome, &[], &[])?;
        self.tally.add(asked.row, &outcome);
        Ok(true)
    }

    fn refusal(&self, asked: &InFlight, code: u16) -> Fault {
        match Refusal::from_code(code) {
            Some(refusal) if asked.rate => rates::refused(&self.rates_file, asked.row, refusal),
            Some(refusal) => refused(&self.file, asked.row, refusal),
            None => Problem::new(format!("the appliance refused the event (code {code})"), "see its log")
                .at(format!("{}: row {}", self.file, asked.row)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_intervals() {
        let pace = |rate| Pace { started: Instant::now(), started_ns: 0, rate };
        assert_eq!(pace(4).due(6), Some(Duration::from_millis(1500)));
        assert_eq!(pace(3).due(0), Some(Duration::ZERO));
        assert_eq!(pace(0).due(6), None);
    }
}

//! Exchange rates of a file: `tollctl rates load`, and `--rates` of `replay` and `switch`.
//!
//! ```csv
//! time,from,to,rate
//! 2026-01-05T15:00:00Z,EUR,USD,1.0987
//! ```
//!
//! From that time on one whole unit of `from` is worth `rate` whole units of `to`. The appliance uses a rate for its own
//! pair and direction only; with a base currency the loader computes the others: at each time, between every two
//! currencies that have a rate to or from the base then. What the file itself says is never replaced.
//!
//! A rate's id is made of its pair and time. So a file may be sent again: what is known already is answered as a
//! duplicate. Another value for the same pair and time is refused; a correction takes effect at a later time.

use crate::cell::{self, Cell, TimeUnit};
use crate::events::{Reader, Rows};
use crate::fault::{Fault, Problem, shown};
use crate::link::{Link, LinkOptions, too_long};
use crate::policy;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tollgate::encode::{self, EventWords};
use tollgate::engine::Loaded;
use tollgate::engine::program::{ArchivedProgram, ArchivedRatesPlan};
use tollgate::engine::units::{Currency, Time};
use tollgate::engine::wire::{FLAG_DUPLICATE, FLAG_REFUSED, RATE_PART_MAX, RATE_WORDS, Refusal};
use tollgate::policy::typed::RATE_EVENT;
use tollgate::token::Tokenizer;
use tollgate_ring::SendError;

/// The most rates of one file, computed ones included.
const RATES_MAX: usize = 4 << 20;

/// A part of a rate to or from the base, and the row that says it.
type OfBase = (Fraction, u64);

/// A rate, ready for the engine or a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// When it takes effect.
    pub(crate) time: Time,
    /// The row of the file that it comes from.
    pub(crate) row: u64,
    /// Its number on the wire.
    pub(crate) kind: u16,
    /// Its words.
    pub(crate) words: [u64; RATE_WORDS],
}

/// `num / den`, in lowest terms, each part from 1 to [`RATE_PART_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    num: u64,
    den: u64,
}

/// A row of the file, or what was computed from two.
#[derive(Clone, Copy, Debug)]
struct Quote {
    time: Time,
    row: u64,
    from: Currency,
    to: Currency,
    rate: Fraction,
}

impl Fraction {
    fn inverse(self) -> Self {
        Self { num: self.den, den: self.num }
    }

    /// `self / other`, where need be rounded half-even to as many digits as fit; none when it is too large or too small.
    fn over(self, other: Self) -> Option<Self> {
        let num = u128::from(self.num) * u128::from(other.den);
        let den = u128::from(self.den) * u128::from(other.num);
        let divisor = gcd(num, den);
        let (num, den) = (num / divisor, den / divisor);
        let most = u128::from(RATE_PART_MAX);
        if num <= most && den <= most {
            return Some(Self { num: num as u64, den: den as u64 });
        }
        // Digit by digit: every remainder is below 10³⁰.
        let (mut digits, mut rest, mut unit) = (num / den, num % den, 1);
        while unit < most && digits * 10 + 9 <= most {
            digits = digits * 10 + rest * 10 / den;
            rest = rest * 10 % den;
            unit *= 10;
        }
        let up = rest * 2 > den || rest * 2 == den && digits % 2 == 1;
        let digits = digits + u128::from(up);
        let divisor = gcd(digits, unit);
        (1..=most)
            .contains(&digits)
            .then(|| Self { num: (digits / divisor) as u64, den: (unit / divisor) as u64 })
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// All rates of a file in order of time, those of one time in the order of their rows. With `base`, crosses too.
pub(crate) fn read(
    path: &Path,
    base: Option<Currency>,
    loaded: &Loaded,
    tokenizer: &Tokenizer,
) -> Result<Vec<Rate>, Fault> {
    let program = loaded.program();
    let Some(plan) = program.rates.as_ref() else {
        return Err(Problem::new(
            "the policy declares no rates",
            "add a line such as rates \"daily\" max_age 3d to the policy",
        )
        .at(program.name.as_str()));
    };
    let mut quotes = rows(path)?;
    // Stable: rows of one time stay as they are.
    quotes.sort_by_key(|quote| quote.time);
    if let Some(base) = base {
        quotes = with_crosses(&quotes, base, plan, path)?;
    }
    Ok(quotes.iter().map(|quote| frame(quote, program, plan, tokenizer)).collect())
}

fn too_many(path: &Path) -> Fault {
    Problem::new(format!("more than {RATES_MAX} rates"), "load them in several files")
        .at(path.display().to_string())
}

/// The rows of the file.
fn rows(path: &Path) -> Result<Vec<Quote>, Fault> {
    const COLUMNS: [&str; 4] = ["time", "from", "to", "rate"];
    let mut reader = Reader::open(path)?;
    if let Some(available) = reader.available()
        && let Some(name) = COLUMNS.iter().find(|name| !available.iter().any(|column| column == *name))
    {
        return Err(Problem::new(
            format!("there is no column `{name}`"),
            "rates have the columns time, from, to, rate",
        )
        .at(reader.file()));
    }
    reader.select(&COLUMNS.map(str::to_owned))?;
    let (mut rows, mut quotes) = (Rows::default(), Vec::new());
    while reader.next(&mut rows)? {
        for row in 0..rows.len() {
            if quotes.len() == RATES_MAX {
                return Err(too_many(path));
            }
            let place =
                |column: usize| format!("{}, column {}", rows.place(reader.file(), row), COLUMNS[column]);
            let cell = |column: usize| match rows.cell(column, row) {
                Cell::Null => Err(Problem::new("the value is missing", "fill it in").at(place(column))),
                cell => Ok(cell),
            };
            let currency =
                |column| cell::currency(cell(column)?).map_err(|problem| problem.at(place(column)));
            let (num, den) = cell::rate(cell(3)?).map_err(|problem| problem.at(place(3)))?;
            quotes.push(Quote {
                time: time(cell(0)?).map_err(|problem| problem.at(place(0)))?,
                row: rows.number(row),
                from: currency(1)?,
                to: currency(2)?,
                rate: Fraction { num, den },
            });
        }
    }
    Ok(quotes)
}

/// With an offset, or without for UTC; a date alone is its midnight.
fn time(cell: Cell<'_>) -> Result<Time, Problem> {
    cell::time(cell, TimeUnit::Rfc3339).or_else(|_| cell::time(cell, TimeUnit::Timestamp)).map_err(|_| {
        Problem::new(
            format!("{} is not a time between 1970 and 2199", shown(cell)),
            "write it as 2026-01-05T16:00:00+01:00, or without an offset for UTC",
        )
    })
}

/// The rates, and after those of each time the crosses over the base into the currencies that the policy converts to.
fn with_crosses(
    quotes: &[Quote],
    base: Currency,
    plan: &ArchivedRatesPlan,
    path: &Path,
) -> Result<Vec<Quote>, Fault> {
    let mut all = Vec::with_capacity(quotes.len());
    for at_once in quotes.chunk_by(|a, b| a.time == b.time) {
        all.extend_from_slice(at_once);
        let given: BTreeSet<(Currency, Currency)> =
            at_once.iter().map(|quote| (quote.from, quote.to)).collect();
        // What one unit of the base is worth in each currency. The last row of a pair counts, as it does when sent.
        let mut worth: BTreeMap<Currency, OfBase> = BTreeMap::new();
        for quote in at_once.iter().filter(|quote| quote.from != quote.to) {
            if quote.from == base {
                worth.insert(quote.to, (quote.rate, quote.row));
            } else if quote.to == base && !given.contains(&(base, quote.from)) {
                worth.insert(quote.from, (quote.rate.inverse(), quote.row));
            }
        }
        let Some(first) = at_once.first().filter(|_| !worth.is_empty()) else { continue };
        worth.insert(base, (Fraction { num: 1, den: 1 }, 0));
        for to in plan.into.iter().filter_map(|code| Currency::from_numeric(u64::from(code.to_native()))) {
            let Some(&(to_rate, to_row)) = worth.get(&to) else { continue };
            for (&from, &(from_rate, from_row)) in &worth {
                if from == to || given.contains(&(from, to)) {
                    continue;
                }
                let row = from_row.max(to_row);
                let rate = to_rate.over(from_rate).ok_or_else(|| {
                    Problem::new(
                        format!(
                            "{} to {} over {} is too large or too small",
                            from.alpha(),
                            to.alpha(),
                            base.alpha()
                        ),
                        "give the rate itself, or correct the row",
                    )
                    .at(format!("{}: row {row}", path.display()))
                })?;
                all.push(Quote { time: first.time, row, from, to, rate });
                if all.len() > RATES_MAX {
                    return Err(too_many(path));
                }
            }
        }
    }
    Ok(all)
}

fn frame(quote: &Quote, program: &ArchivedProgram, plan: &ArchivedRatesPlan, tokenizer: &Tokenizer) -> Rate {
    let kind = plan.event.to_native();
    let event = &program.events[usize::from(kind)];
    let id = format!("{}/{}/{}", quote.from.alpha(), quote.to.alpha(), quote.time.0);
    let mut words = EventWords::new(event, tokenizer.event_id(RATE_EVENT, &id), quote.time);
    for (name, currency) in [("from", quote.from), ("to", quote.to)] {
        if let Some(slot) = encode::field(event, name) {
            words.set_number(slot, i64::from(currency.0));
        }
    }
    if let Some(slot) = encode::field(event, "rate") {
        words.set_rate(slot, quote.rate.num, quote.rate.den);
    }
    let mut rate = Rate { time: quote.time, row: quote.row, kind, words: [0; RATE_WORDS] };
    rate.words.copy_from_slice(words.words());
    rate
}

/// A rate that the engine does not take.
pub(crate) fn refused(file: &str, row: u64, refusal: Refusal) -> Fault {
    let (message, help) = match refusal {
        Refusal::IdReused => (
            "another rate of this pair and time was sent before".to_owned(),
            "a rate that was sent stays as it is; give the correction a later time",
        ),
        _ => (format!("the rate was refused: {refusal}"), "correct the row"),
    };
    Problem::new(message, help).at(format!("{file}: row {row}"))
}

/// A currency on the command line.
pub(crate) fn parse_currency(text: &str) -> Result<Currency, String> {
    cell::currency(Cell::Text(text)).map_err(|problem| format!("{}; {}", problem.message, problem.help))
}

/// `tollctl rates …`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a file of exchange rates to a running appliance.
    Load(Options),
}

/// Options of `rates load`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The rates: .csv, .ndjson or .parquet with the columns time, from, to, rate.
    file: PathBuf,
    /// The policy that the appliance runs.
    #[arg(long)]
    policy: PathBuf,
    /// The appliance's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Compute the rates that the file does not have over this currency.
    #[arg(long, value_parser = parse_currency)]
    base: Option<Currency>,
    /// Bytes of a request slot, as the appliance is configured.
    #[arg(long, default_value_t = 256)]
    slot_bytes: u32,
    /// The secret of the tokens; without it, the fixed one for replays.
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Load(options) = command;
    let tokenizer = policy::tokenizer(options.key_file.as_deref())?;
    let loaded = policy::load(&options.policy, &tokenizer)?;
    let rates = read(&options.file, options.base, &loaded, &tokenizer)?;
    let link = Link::connect(
        &loaded,
        &LinkOptions {
            socket: &options.socket,
            slot_bytes: options.slot_bytes,
            durable: false,
            name: "tollctl rates",
            at_end: "may be sent again",
        },
    )?;
    let mut load = Load { link, file: options.file.display().to_string(), known: 0 };
    for rate in &rates {
        load.send(rate)?;
    }
    while load.link.in_flight() > 0 {
        load.receive()?;
    }
    println!("rates {}, new {}, known {}", rates.len(), rates.len() as u64 - load.known, load.known);
    Ok(())
}

/// Rates on their way; of each its row is remembered.
struct Load {
    link: Link<u64>,
    file: String,
    known: u64,
}

impl Load {
    fn send(&mut self, rate: &Rate) -> anyhow::Result<()> {
        loop {
            match self.link.send(rate.kind, 0, &rate.words, || rate.row) {
                Ok(()) => return Ok(()),
                Err(SendError::Busy) => self.receive()?,
                Err(SendError::TooLong { found, .. }) => {
                    return Err(too_long(found).at(format!("{}: row {}", self.file, rate.row)).into());
                }
                Err(SendError::Closed(closed)) => return Err(self.link.closed(closed)),
            }
        }
    }

    /// Waits a while for an answer and takes it.
    fn receive(&mut self) -> anyhow::Result<()> {
        let Some((row, outcome)) = self.link.receive(true)? else { return Ok(()) };
        if outcome.flags & FLAG_REFUSED != 0 {
            let refusal = Refusal::from_code(outcome.reasons[0]);
            let refusal = refusal.context("the appliance refused a rate for a reason unknown here")?;
            return Err(refused(&self.file, row, refusal).into());
        }
        self.known += u64::from(outcome.flags & FLAG_DUPLICATE != 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fraction(num: u64, den: u64) -> Fraction {
        Fraction { num, den }
    }

    #[test]
    fn quotients_are_exact_while_they_fit_and_then_nearest() {
        assert_eq!(fraction(16_023, 100).over(fraction(10_987, 10_000)), Some(fraction(1_602_300, 10_987)));
        assert_eq!(fraction(1, 1).over(fraction(3, 1)), Some(fraction(1, 3)));
        // 123456789012.3 / 0.987654321098 = 124999998861…: rounded at the fifteenth digit.
        let wide = fraction(1_234_567_890_123, 10).over(fraction(493_827_160_549, 500_000_000_000)).unwrap();
        let (exact_num, exact_den) = (1_234_567_890_123_u128 * 500_000_000_000, 10 * 493_827_160_549_u128);
        let (found_num, found_den) = (u128::from(wide.num), u128::from(wide.den));
        assert!(found_num <= u128::from(RATE_PART_MAX) && found_den <= u128::from(RATE_PART_MAX));
        // Off by at most half a unit of the last digit kept, 10⁻³.
        let off = (found_num * exact_den).abs_diff(exact_num * found_den);
        assert!(off * 2_000 <= exact_den * found_den, "{wide:?}");
        let most = RATE_PART_MAX;
        assert_eq!(fraction(most, 1).over(fraction(1, most)), None);
        assert_eq!(fraction(1, most).over(fraction(most, 1)), None);
        assert_eq!(fraction(1, most).over(fraction(1, most)), Some(fraction(1, 1)));
    }
}

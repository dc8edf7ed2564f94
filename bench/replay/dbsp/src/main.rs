//! The twelve windows of the handbook's features in DBSP, an engine for streams that keeps views up to date: how fast, and
//! what they come to.
//!
//!     replay-dbsp EVENTS.csv BATCH [LIMIT [OUT.csv]]
//!
//! EVENTS.csv has, in order of time and without a header, the time in seconds, its rank among the customer's payments of that
//! second, customer, terminal, minor units, fraud. It is read first. Then BATCH events at a time are given to the circuit, which runs on
//! one worker, and what it has to say of them is taken before the next ones go in. OUT.csv is what `compare.py` checks.
//!
//! A window is a rolling aggregate over a range relative to each event; sum and count are one aggregate, so that twelve features
//! are six of these. Both are linear, which DBSP has a faster operator for. The risk is over payments with their fraud known
//! from the beginning: the terminals' windows end seven days ago, as the labels come, so that the value is the same.

use dbsp::operator::Avg;
use dbsp::operator::time_series::{OrdPartitionedOverStream, RelOffset, RelRange};
use dbsp::typed_batch::IndexedZSetReader;
use dbsp::utils::Tup2;
use dbsp::{OrdIndexedZSet, RootCircuit, Runtime, Stream, ZWeight};
use std::io::Write;
use std::time::Instant;

const DAY: u64 = 86_400;
/// Ranks that fit into one second.
const RANKS: u64 = 1000;
const DAYS: [u64; 3] = [1, 7, 30];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Key, and what is summed.
type Row = Tup2<u32, i64>;
type Rolling = OrdPartitionedOverStream<u32, u64, Tup2<i64, i64>>;

fn rolling(rows: &Stream<RootCircuit, OrdIndexedZSet<u64, Row>>, from: u64, to: u64) -> Rolling {
    rows.partitioned_rolling_aggregate_linear(
        |Tup2(key, value)| (*key, *value),
        |value| Avg::new(*value, 1 as ZWeight),
        |both| Tup2(both.sum(), both.count()),
        RelRange::new(RelOffset::Before(from), RelOffset::Before(to)),
    )
}

struct Event {
    customer: (u64, Row),
    terminal: (u64, Row),
}

fn read(file: &str) -> Vec<Event> {
    let text = std::fs::read_to_string(file).expect("the events");
    let event = |line: &str| {
        let mut fields = line.split(',').map(|field| field.parse::<u64>().expect("a whole number"));
        let mut next = || fields.next().expect("six fields");
        let (time, rank, customer, terminal, minor, fraud) = (next(), next(), next(), next(), next(), next());
        Event {
            customer: (time * RANKS + rank, Tup2(customer as u32, minor as i64)),
            terminal: (time, Tup2(terminal as u32, fraud as i64)),
        }
    };
    text.lines().map(event).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut events = read(&arguments[0]);
    let batch: usize = arguments[1].parse().expect("a number of events");
    if let Some(limit) = arguments.get(2) {
        events.truncate(limit.parse().expect("a number of events"));
    }

    let (mut circuit, (customers, terminals, outputs)) = Runtime::init_circuit(1, |circuit| {
        let (by_customer, customers) = circuit.add_input_indexed_zset::<u64, Row>();
        let (by_terminal, terminals) = circuit.add_input_indexed_zset::<u64, Row>();
        let mut outputs = Vec::new();
        for days in DAYS {
            outputs.push(rolling(&by_customer, days * DAY * RANKS - 1, 0).accumulate_output());
        }
        for days in DAYS {
            outputs.push(rolling(&by_terminal, (days + 7) * DAY - 1, 7 * DAY).accumulate_output());
        }
        Ok((customers, terminals, outputs))
    })
    .expect("a circuit");

    let mut told = Vec::new();
    let (mut rows, mut sums) = (0u64, 0i64);
    let begun = Instant::now();
    for some in events.chunks(batch) {
        let input = |pick: fn(&Event) -> (u64, Row)| {
            some.iter()
                .map(|event| {
                    let (time, row) = pick(event);
                    Tup2(time, Tup2(row, 1))
                })
                .collect::<Vec<_>>()
        };
        customers.append(&mut input(|event| event.customer));
        terminals.append(&mut input(|event| event.terminal));
        circuit.transaction().expect("a step");
        for (window, output) in outputs.iter().enumerate() {
            for (key, Tup2(time, value), weight) in output.concat().iter() {
                let Tup2(sum, count) = value.unwrap_or_default();
                rows += 1;
                sums += weight * (sum + count);
                if arguments.len() > 3 {
                    told.push((window, key, time, sum, count, weight));
                }
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "events {}, {seconds:.3} s, {:.0} events/s, rows {rows}, sum {sums}",
        events.len(),
        events.len() as f64 / seconds
    );
    if let Some(out) = arguments.get(3) {
        let mut out = std::io::BufWriter::new(std::fs::File::create(out).expect("a file to write"));
        for (window, key, time, sum, count, weight) in told {
            writeln!(out, "{window},{key},{time},{sum},{count},{weight}").expect("room");
        }
    }
}

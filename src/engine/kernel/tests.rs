//! Every kernel against the portable one.

use super::passes::Way;
use super::*;
use crate::engine::plan::Bit;
use crate::engine::rows::{last_stamp_of, stamp};
use crate::engine::units::mix;

/// Random blocks, lanes and edges: every kernel against the portable one, which adds up by `tally`, which
/// is tested against plain sums.
#[test]
fn all_kernels_are_equal() {
    let kernels = all();
    // Every processor of that kind has another: the portable one by itself would show nothing.
    assert!(kernels.len() > usize::from(cfg!(target_arch = "aarch64")), "there is only the portable one");
    let mut random = 5_u64;
    let mut next = move || {
        random = mix(random, 1);
        random
    };
    let (mut told, mut told_in_record) = ([0; 2], [0; 2]);
    let mut ways = [[0; Few::WINDOWS]; Way::COUNT];
    for round in 0..20_000 {
        let most_rows = if next() & 3 == 0 { 128 * Near::STORED } else { 64 };
        let (capacity, columns) = (1 + next() as usize % most_rows, 4);
        let count = next() as usize % (capacity + 1);
        let spread = [3, 100, 1 << 40][round % 3];
        // Sometimes no row lacks anything.
        let all_have = if next() & 1 == 0 { 1023 } else { 0 };
        let mut stamps: Vec<u64> =
            (0..count).map(|_| stamp((next() % spread) as i64) | next() & 1023 | all_have).collect();
        stamps.sort_unstable();
        let mut words = vec![0; capacity * columns];
        words[..count].copy_from_slice(&stamps);
        // The numbers with a sign, up to any, and up to the greatest that can be added up in 64 bits, and one more.
        let most = [i64::MAX, (1 << 53) - 1, 1 << 53][next() as usize % 3];
        let mut number = || match next() % 4 {
            0 => most,
            1 => -most - 1,
            _ => next() as i64 % most,
        };
        words[2 * capacity..].fill_with(|| number() as u64);
        let mut own: Vec<u64> = [0; 2].into_iter().chain([number() as u64, number() as u64]).collect();
        words[capacity..2 * capacity].fill_with(&mut next);
        own[0] = stamp((next() % spread) as i64) | next() & 1023 | all_have;
        own[1] = next();
        let block = Block { words: &words, capacity, count };
        let bit = |column, bit| Bit { column, bit };
        let filters = [None, Some(bit(0, 3)), Some(bit(1, 60))];
        let values = [None, Some((2, bit(0, 4))), Some((3, bit(1, 5))), Some((2, bit(1, 60)))];
        let lanes: Vec<Lane> =
            filters.iter().flat_map(|&filter| values.map(|value| Lane::new(filter, value))).collect();
        let used: Vec<Used> = (0..lanes.len())
            .map(|number| Used {
                lane: lanes[number],
                number,
                sum: true,
                least: next() & 1 == 0,
                greatest: next() & 1 == 0,
            })
            .collect();
        let mut edges: Vec<i64> = (0..2 + next() % 5).map(|_| (next() % (spread + 2)) as i64 - 1).collect();
        edges.push(-(1 << 60));
        edges.sort_unstable();
        edges.dedup();
        let edges: Vec<u64> = edges.into_iter().map(last_stamp_of).collect();
        let task = Task { edges: &edges, used: &used };
        // Up to four blocks of what was one, in any way, the newest first.
        let (mut pieces, mut end) = (Vec::new(), count);
        for left in (0..Near::STORED).rev() {
            let (least, most) = (end.saturating_sub(128 * left), end.min(128));
            let rows = least + next() as usize % (most - least + 1);
            // What room there is beyond the rows holds anything.
            let room = if next() & 3 == 0 { 0 } else { next() as usize % 128 };
            let room = (rows + room).min(128);
            let mut words_of_it: Vec<u64> = (0..room * columns).map(|_| next()).collect();
            for (column, of) in words.chunks_exact(capacity).enumerate() {
                words_of_it[column * room..][..rows].copy_from_slice(&of[end - rows..end]);
            }
            // There may be none where there are no rows.
            if rows > 0 || next() & 1 == 0 {
                pieces.push((words_of_it, room, rows));
            }
            end -= rows;
        }
        assert_eq!(end, 0);
        let own = (next() & 1 == 0).then_some(&own[..]);
        let mut room = Near::room();
        let mut near = Near::new(&mut room);
        for (words, capacity, count) in &pieces {
            near.push(Block { words, capacity: *capacity, count: *count });
        }
        if let Some(own) = own {
            near.push_own(own);
        }
        let sums_of = |kernel: Kernel| {
            let mut added = vec![Sum { count: 1, ..Sum::EMPTY }; (edges.len() - 1) * used.len()];
            (kernel.add)(&task, &block, &mut added);
            let mut nested = vec![Sum { count: 77, ..Sum::EMPTY }; added.len()];
            nest(kernel, &task, &near, &mut nested);
            for sums in [&mut added, &mut nested] {
                for (place, sum) in sums.iter_mut().enumerate() {
                    let used = used[place % used.len()];
                    sum.least = if used.least { sum.least } else { 0 };
                    sum.greatest = if used.greatest { sum.greatest } else { 0 };
                }
            }
            [added, nested]
        };
        // Of some lanes, so that each is added up with others and by itself.
        let wanted = if next() & 1 == 0 { next() } else { u64::MAX };
        let some: Vec<Used> =
            (0..used.len()).filter(|lane| wanted >> lane & 1 == 1).map(|lane| used[lane]).collect();
        let passes = Pass::of_all(&some);
        for pass in &passes {
            ways[pass.way as usize][(edges.len() - 2).min(Few::WINDOWS - 1)] += 1;
        }
        let few_of = |kernel: Kernel| {
            let mut numbers = [Numbers::default(); 12];
            let (&until, after) = edges.split_last().unwrap();
            let after = &after[after.len().saturating_sub(Few::WINDOWS)..];
            let (starts, windows) = (&Starts::of(after), after.len());
            let (used, passes) = (&some[..], &passes[..]);
            let few = Few { blocks: near.blocks(), starts, windows, until, used, passes };
            // SAFETY: the blocks have up to 128 rows and all columns.
            let is_told = unsafe { (kernel.few)(&few, &mut numbers) };
            let told = numbers.iter().zip(used).map(|(numbers, used)| {
                let wanted = |is_wanted: bool, numbers: [i64; 4]| {
                    if is_told && is_wanted { numbers[..windows].to_vec() } else { Vec::new() }
                };
                let is_of_values = used.lane.is_of_values();
                [
                    wanted(true, numbers.count),
                    wanted(is_of_values, numbers.sum),
                    wanted(is_of_values && used.least, numbers.least),
                    wanted(is_of_values && used.greatest, numbers.greatest),
                ]
            });
            (is_told, told.collect::<Vec<_>>())
        };
        let told_by_stamps: Vec<Used> =
            used.iter().filter(|used| used.lane.is_told_by_stamp()).copied().collect();
        let lanes = Lanes::of(&told_by_stamps).unwrap();
        let turn = next() as usize;
        let in_record_of = |kernel: Kernel| {
            let mut numbers = [Numbers::default(); Numbers::LANES];
            let count = block.count.min(InRecord::ROWS_MAX);
            let block = Block { count, ..block };
            let (&until, after) = edges.split_last().unwrap();
            let count = block.rows_until_stamp(until);
            // In a record the oldest is anywhere.
            let mut turned = words.clone();
            if count > 0 {
                turned
                    .chunks_exact_mut(capacity)
                    .for_each(|column| column[..count].rotate_left(turn % count));
            }
            let block = Block { words: &turned, capacity, count };
            let after = &after[after.len().saturating_sub(Few::WINDOWS)..];
            let starts = &Starts::of(after);
            let rows = InRecord { block, own, starts };
            // SAFETY: the kernel can run here, and the block has all columns.
            let is_told = unsafe { (kernel.in_record)(&rows, &lanes, &mut numbers) };
            let told = numbers.iter().zip(&told_by_stamps).map(|(numbers, used)| {
                let wanted = |is_wanted: bool, numbers: [i64; 4]| {
                    if is_told && is_wanted { numbers[..after.len()].to_vec() } else { Vec::new() }
                };
                let is_of_values = used.lane.is_of_values();
                [
                    wanted(true, numbers.count),
                    wanted(is_of_values, numbers.sum),
                    wanted(is_of_values && used.least, numbers.least),
                    wanted(is_of_values, numbers.greatest),
                ]
            });
            (is_told, told.collect::<Vec<_>>())
        };
        let expected = (sums_of(PORTABLE), few_of(PORTABLE), in_record_of(PORTABLE));
        told[usize::from(expected.1.0)] += 1;
        told_in_record[usize::from(expected.2.0)] += 1;
        for &(name, kernel) in &kernels {
            assert_eq!((sums_of(kernel), few_of(kernel), in_record_of(kernel)), expected, "{name}");
        }
    }
    assert!(ways.iter().flatten().all(|&rounds| rounds > 20), "{ways:?}");
    assert!(told.iter().chain(&told_in_record).all(|&rounds| rounds > 2_000), "{told:?} {told_in_record:?}");
}

//! How much memory the keys and their rows take.

use super::Engine;
use super::shared::Shared;
use super::table::Table;

/// Memory of the tables, all kinds together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Keys (and pairs of keys) that have a record.
    pub keys: u64,
    /// Bytes of the indexes, for all keys that there is room for.
    pub index_bytes: u64,
    /// Bytes of the records that have ever been in use.
    pub record_bytes: u64,
    /// Bytes of the slabs in use.
    pub slab_bytes: u64,
    /// Bytes reserved for all that grows: tables and slabs, whether in use or not, what is remembered of duplicates, and
    /// what keys without a record share.
    /// However many keys come, no more is taken.
    pub reserved_bytes: u64,
}

/// How near the engine is to giving something up, of a hundred, rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// The fullest table: entity kinds in the order of the policy, then pairs of kinds.
    pub table: usize,
    /// How much of its room for keys is in use.
    pub table_percent: u64,
    /// How much of the memory for rows beyond the records is in use.
    pub spill_percent: u64,
}

impl Engine {
    /// How full its memory is now. Looks at no key, however many there are.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let mut fill = Fill { spill_percent: self.spill.percent(), ..Fill::default() };
        for (number, table) in self.tables.iter().enumerate() {
            let percent = table.percent();
            if percent > fill.table_percent {
                (fill.table, fill.table_percent) = (number, percent);
            }
        }
        fill
    }

    /// Shows all that grows, block by block: for who wants it backed with memory before it is used. The working memory of a
    /// decision is written over first.
    ///
    /// What is shown must be left as it is.
    pub fn each_block<E>(&mut self, show: impl FnMut(&mut [u64]) -> Result<(), E>) -> Result<(), E> {
        self.scratch.write_over();
        self.gathered.write_over();
        self.sketched.write_over();
        let tables = self.tables.iter_mut().flat_map(Table::blocks);
        let shared = self.shared.iter_mut().flatten().map(Shared::block);
        tables
            .chain(self.dedup.blocks())
            .chain([self.spill.block(), self.orders.edits.block()])
            .chain(shared)
            .try_for_each(show)
    }

    /// What the keys take now. Looks at no key, however many there are.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let of_tables = self.tables.iter().fold(Footprint::default(), |sum, table| {
            let (keys, index_bytes, record_bytes) = table.footprint();
            Footprint {
                keys: sum.keys + keys,
                index_bytes: sum.index_bytes + index_bytes,
                record_bytes: sum.record_bytes + record_bytes,
                reserved_bytes: sum.reserved_bytes + table.reserved_bytes(),
                ..sum
            }
        });
        Footprint {
            slab_bytes: self.spill.used_bytes(),
            reserved_bytes: of_tables.reserved_bytes
                + self.spill.reserved_bytes()
                + self.shared.iter().flatten().map(Shared::bytes).sum::<u64>()
                + self.dedup.reserved_bytes(),
            ..of_tables
        }
    }
}

//! Scoring rows with a loaded model: which kernel, and what it needs between two rows.

use crate::kernel::{Asked, Kernel, Reached, Table};
use crate::lanes::{ArchivedBlock, ArchivedLanes, LANES, Line, TABLE_MAX};
use crate::model::{ArchivedBody, ArchivedModel, ArchivedSum, ArchivedTrees};
use crate::walk::{self, Partial};

/// Rows that are scored side by side by [`Scorer::margins`].
const ROWS: usize = 4;

/// What one thread needs to score rows with one model. Allocates nothing after it was made.
#[derive(Clone, Debug)]
pub struct Scorer {
    kernel: Kernel,
    rows: [Ranked; ROWS],
}

/// One row as the blocks see it.
#[derive(Clone, Debug, Default)]
struct Ranked {
    /// The rank in each column, in whole lines, and never fewer than a table takes.
    ranks: Vec<Line>,
    /// Where the row of the category of each of the model's set inputs begins.
    set_rows: Vec<u32>,
}

impl Scorer {
    /// For rows of this model, with the best kernel that there is for it.
    #[must_use]
    pub fn new(model: &ArchivedModel) -> Self {
        Self::with_kernel(model, Kernel::best())
    }

    /// With this kernel, which must be [available](Kernel::available); the trees are walked where it does not take them.
    ///
    /// # Panics
    ///
    /// When the processor does not have its instructions.
    #[must_use]
    pub fn with_kernel(model: &ArchivedModel, kernel: Kernel) -> Self {
        assert!(Kernel::available().contains(&kernel), "this processor has no {}", kernel.name());
        let mut scorer = Self { kernel: Kernel::Walk, rows: Default::default() };
        if let (ArchivedBody::Trees(trees), true) = (&model.body, kernel != Kernel::Walk)
            && let Some(lanes) = trees.lanes.as_ref()
        {
            scorer.kernel = kernel;
            for row in &mut scorer.rows {
                row.ranks = vec![Line::of(0); lanes.columns.len().max(TABLE_MAX).div_ceil(LANES)];
                row.set_rows = vec![0; lanes.set_inputs.len()];
            }
        }
        scorer
    }

    /// The kernel that scores.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Bytes that it has reserved.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| size_of_val(&*row.ranks) + size_of_val(&*row.set_rows)).sum()
    }

    /// The margin of a row of the model that the scorer was made for, NaN for missing; NaN when there is none.
    ///
    /// # Panics
    ///
    /// When the row is shorter than the model's inputs, or the model is another one.
    #[must_use]
    pub fn margin(&mut self, model: &ArchivedModel, row: &[f64]) -> f64 {
        let Some((trees, lanes)) = self.laid_out(model) else { return walk::margin(model, row) };
        let [margin] = self.abreast(trees, lanes, [row]);
        margin
    }

    /// The margins of rows that lie one after the other.
    ///
    /// # Panics
    ///
    /// When there are not as many rows as margins, or the model is another one.
    pub fn margins(&mut self, model: &ArchivedModel, rows: &[f64], margins: &mut [f64]) {
        let width = model.inputs.len();
        assert_eq!(rows.len(), width * margins.len(), "as many rows as margins");
        let row = |at: usize| &rows[at * width..][..width];
        let Some((trees, lanes)) = self.laid_out(model) else {
            for (at, margin) in margins.iter_mut().enumerate() {
                *margin = walk::margin(model, row(at));
            }
            return;
        };
        let (fours, rest) = margins.as_chunks_mut::<ROWS>();
        for (four, margins) in fours.iter_mut().enumerate() {
            *margins = self.abreast(trees, lanes, std::array::from_fn(|at| row(four * ROWS + at)));
        }
        let first = fours.len() * ROWS;
        for (at, margin) in rest.iter_mut().enumerate() {
            [*margin] = self.abreast(trees, lanes, [row(first + at)]);
        }
    }

    fn laid_out<'a>(&self, model: &'a ArchivedModel) -> Option<(&'a ArchivedTrees, &'a ArchivedLanes)> {
        match &model.body {
            ArchivedBody::Trees(trees) if self.kernel != Kernel::Walk => Some((trees, trees.lanes.as_ref()?)),
            _ => None,
        }
    }

    #[inline]
    fn abreast<const N: usize>(
        &mut self,
        trees: &ArchivedTrees,
        lanes: &ArchivedLanes,
        rows: [&[f64]; N],
    ) -> [f64; N] {
        match trees.sum {
            ArchivedSum::F64(_) => self.added::<f64, N>(trees, lanes, rows),
            ArchivedSum::F32(..) => self.added::<f32, N>(trees, lanes, rows),
        }
    }

    fn added<P: Partial, const N: usize>(
        &mut self,
        trees: &ArchivedTrees,
        lanes: &ArchivedLanes,
        rows: [&[f64]; N],
    ) -> [f64; N] {
        let kernel = self.kernel;
        for (row, ranked) in rows.iter().zip(&mut self.rows) {
            kernel.rank(lanes, trees.rounding, row, bytes_mut(&mut ranked.ranks));
            ranked.find_set_rows(trees, lanes, row);
        }
        let mut sums = [P::begin(trees); N];
        let mut reached = [Reached::NOWHERE; N];
        let mut tables = [[Line::of(0); TABLE_MAX / LANES]; N];
        let mut first_tree = 0;
        for block in lanes.blocks.iter() {
            for (table, ranked) in tables.iter_mut().zip(&self.rows) {
                ranked.fill_own(table, lanes, block);
            }
            let asked = std::array::from_fn(|row| self.rows[row].asked(&tables[row], lanes, block));
            kernel.reach(lanes, block, asked, &mut reached);
            let count = block.trees.to_native() as usize;
            let block_trees = &trees.trees[first_tree..][..count];
            for (sum, reached) in sums.iter_mut().zip(&reached) {
                let leaves = block_trees.iter().zip(&reached.0);
                *sum = leaves.fold(*sum, |sum, (tree, leaf)| {
                    sum.with(walk::leaf_value(trees, tree, u32::from(*leaf)))
                });
            }
            first_tree += count;
        }
        sums.map(|sum| sum.margin(trees))
    }
}

impl Ranked {
    fn find_set_rows(&mut self, trees: &ArchivedTrees, lanes: &ArchivedLanes, row: &[f64]) {
        for (set_input, set_row) in lanes.set_inputs.iter().zip(&mut self.set_rows) {
            let x = walk::rounded(trees.rounding, row[usize::from(set_input.input.to_native())]);
            let categories = set_input.categories.to_native();
            let category = if x.is_nan() {
                categories + 1
            } else {
                walk::category(trees.rounding, x).map_or(categories, |category| category.min(categories))
            };
            *set_row = set_input.first_word.to_native() + category * set_input.row_words.to_native();
        }
    }

    /// Copies the ranks that a block with a table of its own looks at.
    #[inline]
    fn fill_own(&self, table: &mut Table, lanes: &ArchivedLanes, block: &ArchivedBlock) {
        let ranks = bytes(&self.ranks);
        for (place, column) in bytes_mut(table).iter_mut().zip(lanes.table_of(block)) {
            *place = ranks[usize::from(column.to_native())];
        }
    }

    #[inline]
    fn asked<'a>(&'a self, own: &'a Table, lanes: &ArchivedLanes, block: &ArchivedBlock) -> Asked<'a> {
        match (block.columns.to_native() as usize, self.ranks.first_chunk()) {
            (0, Some(all)) => Asked { table: all, columns: lanes.columns.len(), set_rows: &self.set_rows },
            (columns, _) => Asked { table: own, columns, set_rows: &self.set_rows },
        }
    }
}

fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes, whatever they are, without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 bytes, whatever they are, without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

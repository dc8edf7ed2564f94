//! Decision tables.

use super::cells::{Input, Region};
use super::expressions::{Place, Scope};
use super::{Checker, DECLARATIONS_MAX, Namespace};
use crate::engine::units::Value;
use crate::policy::ast;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Expr, Rule, Table, TableIx, Type, Within};

impl Checker<'_> {
    /// A table: its rows become rules, whose effects are looked at with those of all rules.
    pub(super) fn table(&mut self, node: &SyntaxNode, declared: &mut Vec<SyntaxNode>) {
        let (Some(name), Some(on)) = (ast::name(node), ast::clause_name(node, K::OnClause)) else { return };
        if !self.declare(Namespace::Rule, &name, "a table") {
            return;
        }
        let event = self.event_named(&on).filter(|event| self.judged(*event, &on, "table"));
        let Some(event) = event else {
            self.poisoned.insert(name.text);
            return;
        };
        let scope = Scope { event, place: Place::Rule };
        let (modifiers, salience) = self.modifiers(node);
        let effective = self.effective(node);
        let first = ast::has_word(node, "first");
        let table = TableIx(self.policy.tables.len() as u16);
        self.tables.insert(name.text.clone(), table);
        self.policy.tables.push(Table { name: name.text.clone(), event, effective, first });
        let columns: Vec<SyntaxNode> = ast::children(node, K::Column).collect();
        let columns: Vec<Option<Input>> =
            columns.iter().map(|column| self.input(&ast::expression(column)?, scope)).collect();
        // Those of a row with a mistake in it are not whole.
        let mut rows: Vec<Vec<Region>> = Vec::new();
        for (at, row) in ast::children(node, K::TableRow).enumerate() {
            if declared.len() > DECLARATIONS_MAX {
                return;
            }
            let cells: Vec<SyntaxNode> = ast::children(&row, K::Cell).collect();
            if cells.len() != columns.len() {
                let message = format!("this row has {} cells for {} columns", cells.len(), columns.len());
                let help = "write one cell for each column, `-` where anything will do";
                self.push(ast::span(&row), message, "not as many", help);
            }
            let (mut when, mut regions) = (None, Vec::new());
            for (cell, input) in cells.iter().zip(&columns) {
                let Some(input) = input else { continue };
                let Some(asked) = self.cell(cell, input, scope) else { continue };
                regions.push(asked.region);
                when = match (when, asked.when) {
                    (Some(before), Some(asked)) => Some(Expr::And(Box::new(before), Box::new(asked))),
                    (before, asked) => before.or(asked),
                };
            }
            let is_whole = |regions: &Vec<Region>| regions.len() == columns.len();
            if first && is_whole(&regions) {
                let covered = |earlier: &Vec<Region>| {
                    is_whole(earlier) && earlier.iter().zip(&regions).all(|(a, b)| a.covers(b))
                };
                if let Some(earlier) = rows.iter().position(covered) {
                    let message =
                        format!("row {} of `{}` can never be the first that fits", at + 1, name.text);
                    let help = format!(
                        "row {} fits whenever this one does: put it behind, or remove one",
                        earlier + 1
                    );
                    self.push(ast::span(&row), message, "never reached", help);
                }
            }
            rows.push(regions);
            let when = when.unwrap_or(Expr::Const(Value::TRUE, Type::Bool));
            let when = self.bounded(&row, when).unwrap_or(Expr::Score);
            self.policy.rules.push(Rule {
                name: format!("{}#{}", name.text, at + 1),
                event,
                within: Some(Within::Table(table)),
                effective: Default::default(),
                when,
                action: None,
                score: None,
                reason: None,
                mandatory: modifiers.0,
                monitor: modifiers.1,
                salience,
                allow_over: Vec::new(),
                alerts: Vec::new(),
            });
            declared.push(row);
        }
        if ast::child(node, K::TableRow).is_none() {
            let help = "write one row a line, as in `ecom | >= 900 USD => review`";
            self.push(name.span, format!("the table `{}` has no rows", name.text), "holds nothing", help);
        }
    }
}

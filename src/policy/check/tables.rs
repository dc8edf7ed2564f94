//! Decision tables.

use super::cells::Input;
use super::coverage::{Row, Written};
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
        // Columns and rows stand in the policy, or in a file of their own.
        let sheet = self.sheet_of(node, K::TableFile);
        let body = sheet.as_ref().unwrap_or(node);
        let columns: Vec<SyntaxNode> = ast::children(body, K::Column).collect();
        let columns: Vec<Option<Input>> =
            columns.iter().map(|column| self.input(&ast::expression(column)?, scope)).collect();
        let (mut rows, mut count) = (Vec::new(), 0);
        for (at, row) in ast::children(body, K::TableRow).enumerate() {
            if declared.len() > DECLARATIONS_MAX {
                return;
            }
            let cells: Vec<SyntaxNode> = ast::children(&row, K::Cell).collect();
            if cells.len() != columns.len() {
                let message = format!("this row has {} cells for {} columns", cells.len(), columns.len());
                let help = "write one cell for each column, `-` where anything will do";
                self.push(ast::span(&row), message, "not as many", help);
            }
            let (mut when, mut written) = (None, Vec::new());
            for (cell, input) in cells.iter().zip(&columns) {
                let Some(input) = input else { continue };
                let Some(asked) = self.cell(cell, input, scope) else { continue };
                written.push(Written::new(cell, asked.region.in_order()));
                when = match (when, asked.when) {
                    (Some(before), Some(asked)) => Some(Expr::And(Box::new(before), Box::new(asked))),
                    (before, asked) => before.or(asked),
                };
            }
            count = at + 1;
            // Those of a row with a mistake in it are not held against others.
            if written.len() == columns.len() && cells.len() == columns.len() {
                rows.push(Row::new(&row, count, written));
            }
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
        if count == 0 {
            let message = format!("the table `{}` has no rows", name.text);
            let help = match &sheet {
                None => "write one row a line, as in `ecom | >= 900 USD => review`",
                Some(_) => {
                    "write one row a line below the names of the columns, as in `ecom;>= 900 USD;review`"
                }
            };
            self.push(name.span, message, "holds nothing", help);
        }
        if let Some(columns) = columns.into_iter().collect::<Option<Vec<Input>>>() {
            self.rows(&name.text, first, &columns, &rows);
        }
    }

    /// What the file of a table or a list holds, if it is in one.
    pub(super) fn sheet_of(&self, node: &SyntaxNode, kind: K) -> Option<SyntaxNode> {
        let start = *self.parse.sheets.get(&u32::from(node.text_range().start()))?;
        let mut sheets = ast::children(&self.parse.root, kind);
        sheets.find(|sheet| u32::from(sheet.text_range().start()) == start)
    }
}

//! Columns that line up.

use anstyle::Style;

use super::paint;

/// A cell: its text, how it is painted, and on which side it stands.
pub(super) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// A text on the left.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new(), right: false }
    }

    /// A painted text on the left.
    pub(super) fn painted(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style, right: false }
    }

    /// A number on the right.
    pub(super) fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new(), right: true }
    }

    /// The same on the right.
    pub(super) fn on_the_right(self) -> Self {
        Self { right: true, ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn padded(&self, width: usize) -> String {
        let gap = " ".repeat(width.saturating_sub(self.width()));
        let text = if self.style == Style::new() { self.text.clone() } else { paint(self.style, &self.text) };
        if self.right { format!("{gap}{text}") } else { format!("{text}{gap}") }
    }
}

/// The rows as lines, two blanks between columns and none at the end of a line. A row may have fewer cells than another; the width
/// of a row's last cell counts for nothing, so that one long sentence does not push the columns apart.
pub(super) fn table(rows: &[Vec<Cell>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            let inner = rows.iter().filter(|row| c + 1 < row.len() || row.len() == columns);
            inner.filter_map(|row| row.get(c)).map(Cell::width).max().unwrap_or(0)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| cell.padded(*width)).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_on_the_right_and_a_long_last_cell_moves_nothing() {
        let rows = vec![
            vec![Cell::text("a"), Cell::number("1"), Cell::text("x")],
            vec![Cell::text("bbb"), Cell::number("22"), Cell::text("y")],
            vec![Cell::text(""), Cell::text("a long sentence")],
        ];
        assert_eq!(table(&rows), ["a     1  x", "bbb  22  y", "     a long sentence"]);
    }
}

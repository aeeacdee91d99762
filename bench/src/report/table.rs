//! Aligned text: columns as wide as their widest cell, two spaces between them, no lines drawn.

/// On which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text under headings.
#[derive(Clone, Debug)]
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    #[must_use]
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let (headings, aligns) = columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Self { aligns, rows: vec![headings] }
    }

    /// Adds a row. Cells beyond the last column are dropped, missing ones are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        self.rows.push(cells.into_iter().take(self.aligns.len()).collect());
        self
    }

    /// The text, each line ended.
    #[must_use]
    pub fn render(&self) -> String {
        let widths: Vec<usize> =
            (0..self.aligns.len()).map(|c| self.cells(c).map(width).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (c, (&w, align)) in widths.iter().zip(&self.aligns).enumerate() {
                let cell = row.get(c).map_or("", String::as_str);
                let space = " ".repeat(w - width(cell));
                match align {
                    Align::Left => line += &format!("{cell}{space}  "),
                    Align::Right => line += &format!("{space}{cell}  "),
                }
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(column)).map(String::as_str)
    }
}

/// A number with as many digits as it deserves: four, and all of a large whole number.
#[must_use]
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => value.to_string(),
        size if size == 0.0 || 1000.0 <= size => format!("{value:.0}"),
        size if 100.0 <= size => format!("{value:.1}"),
        size if 10.0 <= size => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A time in the unit that suits it.
#[must_use]
pub fn time_ns(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", figure(ns as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", figure(ns as f64 / 1e6)),
        _ => format!("{} s", figure(ns as f64 / 1e9)),
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([("check", Align::Left), ("n", Align::Right), ("", Align::Left)]);
        table.row(["µs".into(), "1".into(), "ok".into()]).row(["long one".into(), "1000".into()]);
        assert_eq!(table.render(), "check        n\nµs           1  ok\nlong one  1000\n");
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert_eq!(
            [0.0, 0.5, 12.345, 123.45, 5_150_000.4].map(figure),
            ["0", "0.500", "12.35", "123.5", "5150000"]
        );
        assert_eq!(
            [7, 1_500, 2_000_000, 61_000_000_000].map(time_ns),
            ["7 ns", "1.500 µs", "2.000 ms", "61.00 s"]
        );
    }
}

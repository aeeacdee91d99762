//! Tables for people: aligned columns, numbers to the right, nothing else.
use std::fmt;

/// Rows of cells under a heading.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(heading: [&'static str; N]) -> Self {
        Self { heading, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.heading[column].len()]).max().unwrap_or(0)
    }

    /// A column is set to the right if every cell in it is a number or missing.
    fn is_numeric(&self, column: usize) -> bool {
        let number = |cell: &str| cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit());
        !self.rows.is_empty() && self.rows.iter().all(|row| number(&row[column]))
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "  none");
        }
        let columns: [(usize, bool); N] = std::array::from_fn(|c| (self.width(c), self.is_numeric(c)));
        let mut line = |cells: [&str; N]| {
            let mut text = String::from(" ");
            for (cell, (width, numeric)) in cells.into_iter().zip(columns) {
                text += &if numeric { format!(" {cell:>width$} ") } else { format!(" {cell:<width$} ") };
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(self.heading)?;
        self.rows.iter().try_for_each(|row| line(std::array::from_fn(|c| row[c].as_str())))
    }
}

/// A number with its thousands apart.
#[must_use]
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at != 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(["name", "packets"]);
        table.row(["rx".into(), thousands(1_234_567)]);
        table.row(["delivered".into(), thousands(7)]);
        assert_eq!(
            table.to_string(),
            "  name         packets\n  rx         1 234 567\n  delivered          7\n"
        );
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(Table::new(["name"]).to_string(), "  none\n");
    }

    #[test]
    fn thousands_are_apart() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (12_345_678, "12 345 678")];
        cases.into_iter().for_each(|(number, text)| assert_eq!(thousands(number), text));
    }
}

//! The books: what became of every packet, and whether anything is missing.
//!
//! `rx + submitted + created = delivered + transmitted + passed + Σ dropped + held`, and what is left over is
//! `unaccounted`: it is computed, never entered.
use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::table::{Align, Table};

/// Numbers of packets by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Came in.
    pub rx: u64,
    /// Taken from applications and slices.
    pub submitted: u64,
    /// Copies and replies made here.
    pub created: u64,
    /// Reached a local consumer.
    pub delivered: u64,
    /// Left by a port.
    pub transmitted: u64,
    /// Given to the OS stack.
    pub passed: u64,
    /// Dropped, by reason; losses in the kernel's rings are `xsk_ring_full` and `xsk_no_buffer`.
    pub dropped: BTreeMap<String, u64>,
    /// Waiting in queues.
    pub held: u64,
}

impl Books {
    /// All drops.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Packets that came in and have no fate; negative if more fates than packets were counted.
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        let credit = [self.rx, self.submitted, self.created];
        let debit = [self.delivered, self.transmitted, self.passed, self.dropped(), self.held];
        let sum = |side: &[u64]| side.iter().map(|&n| i128::from(n)).sum::<i128>();
        i64::try_from(sum(&credit) - sum(&debit)).unwrap_or(i64::MAX)
    }

    /// Whether the books balance.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.unaccounted() == 0
    }

    /// The books as a table: what is zero and usually is, is left out.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::new([("books", Align::Left), ("packets", Align::Right)]);
        let always = [("rx", self.rx), ("delivered", self.delivered), ("transmitted", self.transmitted)];
        let rarely = [
            ("submitted", self.submitted),
            ("created", self.created),
            ("passed to the OS", self.passed),
            ("held", self.held),
        ];
        let rarely = rarely.into_iter().filter(|&(_, n)| n != 0);
        for (name, n) in always.into_iter().chain(rarely) {
            table.row([name.to_owned(), n.to_string()]);
        }
        for (reason, n) in self.dropped.iter().filter(|&(_, &n)| n != 0) {
            table.row([format!("dropped: {reason}"), n.to_string()]);
        }
        table.row(["unaccounted".to_owned(), self.unaccounted().to_string()]);
        table
    }
}

/// What the daemon says of itself.
impl From<client::control::status::Books> for Books {
    fn from(said: client::control::status::Books) -> Self {
        Self {
            rx: said.rx,
            submitted: said.submitted,
            created: said.created,
            delivered: said.delivered,
            transmitted: said.transmitted,
            passed: said.passed,
            dropped: said.dropped,
            held: said.held,
        }
    }
}

impl Serialize for Books {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut books = serializer.serialize_struct("Books", 9)?;
        books.serialize_field("rx", &self.rx)?;
        books.serialize_field("submitted", &self.submitted)?;
        books.serialize_field("created", &self.created)?;
        books.serialize_field("delivered", &self.delivered)?;
        books.serialize_field("transmitted", &self.transmitted)?;
        books.serialize_field("passed", &self.passed)?;
        books.serialize_field("dropped", &self.dropped)?;
        books.serialize_field("held", &self.held)?;
        books.serialize_field("unaccounted", &self.unaccounted())?;
        books.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_without_a_fate_is_unaccounted() {
        let mut books =
            Books { rx: 10, created: 2, delivered: 4, transmitted: 5, held: 1, ..Books::default() };
        books.dropped.insert("rx_stale".into(), 1);
        assert_eq!((books.unaccounted(), books.balance()), (1, false));
        books.passed = 1;
        assert!(books.balance());
        books.passed = 3;
        assert_eq!(books.unaccounted(), -2);
    }

    #[test]
    fn the_json_form_is_complete() {
        let books = Books { rx: 1, delivered: 1, ..Books::default() };
        assert_eq!(
            serde_json::to_string(&books).expect("plain data"),
            r#"{"rx":1,"submitted":0,"created":0,"delivered":1,"transmitted":0,"passed":0,"dropped":{},"held":0,"unaccounted":0}"#
        );
    }
}

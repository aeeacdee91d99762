//! Where labels lie, and the automaton that finds them, as structures for programs: states and transitions by number.
//!
//! They have what the texts have, and nothing reads them back.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::determinise::Source;
use super::registers::Op;
use super::spots::Spot;
use super::table::Table;
use super::{Candidate, Labels, Search, Spots};
use crate::ir::Tag;

/// Neighbouring byte classes that lead to one state and write the same.
#[derive(Debug, Serialize)]
pub(super) struct Edge<'t> {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) to: usize,
    /// All at once.
    pub(super) ops: &'t [Op],
}

/// A state.
#[derive(Serialize)]
struct State<'t> {
    id: usize,
    /// Where every anchor is if the input ends here; nothing, if it does not match then.
    anchors: Option<&'t [Option<Source<u8>>]>,
    /// Nothing changes any more.
    settled: bool,
    steps: Vec<Edge<'t>>,
}

/// A tag, and where it lies.
#[derive(Serialize)]
struct Place {
    tag: Tag,
    at: Spot,
}

impl Table {
    /// Where a state leads, for all classes in order; nowhere, if it is settled.
    pub(super) fn edges(&self, state: usize) -> impl Iterator<Item = Edge<'_>> {
        let row: Vec<(usize, &[Op])> = self.row(state).collect();
        let mut first = 0;
        let edges: Vec<Edge<'_>> = row
            .chunk_by(|one, next| one == next)
            .map(|same| {
                let ((to, ops), last) = (same[0], first + same.len() - 1);
                let edge = Edge { first, last, to, ops };
                first = last + 1;
                edge
            })
            .collect();
        edges.into_iter()
    }

    fn state(&self, id: usize) -> State<'_> {
        State { id, anchors: self.outcome(id), settled: self.is_settled(id), steps: self.edges(id).collect() }
    }
}

/// Byte classes as sets, the start, and every state.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_struct("Table", 3)?;
        table.serialize_field("byte_classes", &self.classes.sets())?;
        table.serialize_field("start", &self.start())?;
        table.serialize_field("states", &(0..self.states()).map(|id| self.state(id)).collect::<Vec<_>>())?;
        table.end()
    }
}

/// How they are found, where every tag lies, and the automaton of the anchors, if there are any.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let labels = serializer.serialize_struct("Labels", 3)?;
        fields(labels, &self.method().to_string(), &self.spots, self.search.as_ref())
    }
}

/// As for [`Labels`].
impl Serialize for Candidate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let candidate = serializer.serialize_struct("Candidate", 3)?;
        fields(candidate, &self.method().to_string(), &self.spots, Some(&self.search))
    }
}

fn fields<S: SerializeStruct>(
    mut shown: S,
    method: &str,
    spots: &Spots,
    search: Option<&Search>,
) -> Result<S::Ok, S::Error> {
    let places: Vec<Place> = spots.0.iter().map(|(tag, at)| Place { tag: *tag, at: *at }).collect();
    shown.serialize_field("method", method)?;
    shown.serialize_field("tags", &places)?;
    match search {
        Some(Search::Tdfa(table)) => shown.serialize_field("automaton", table)?,
        Some(Search::Simulation(simulation, _)) => shown.serialize_field("simulated", &simulation.nfa)?,
        None => {}
    }
    shown.end()
}

//! From the DAG to the steps of a walker: what a packet must be asked one by one in the graph, asked at once.
//!
//! A node becomes one step, with what stands behind it in the graph where that leads to the same answer:
//! - a length before anything is asked for with it;
//! - nodes of two ways that all lead to the same node if they say no are one question, if their bytes lie in two windows;
//!   one range among them is asked for in a step of its own behind it;
//! - values that are followed each by a question about neighbouring bytes are looked for together with those.
//!
//! Nodes are taken from the leaves on, so where a step leads is known when it is made; each node has a step, because a
//! walk may begin at any.

use super::{
    Case, Dag, Node, NodeId, Probe,
    condition::{Place, Reading},
    perfect::Slots,
    walk::{Step, Test, To, Walker},
    window::{Window, frame},
};

/// A range of at most so many values is looked for value by value.
const VALUES_MAX: u64 = 16;

/// The walker of a DAG.
pub(super) fn of(dag: &Dag) -> Walker {
    let begins = vec![To::step(0); dag.nodes().count()];
    let mut draft = Draft { dag, steps: Vec::new(), slots: Slots::default(), begins };
    for id in dag.forward().into_iter().rev() {
        draft.begins[id.index()] = draft.begin(id);
    }
    let Draft { steps, slots, begins, .. } = draft;
    Walker { steps, slots, begins }
}

/// Steps, as far as they are made.
struct Draft<'a> {
    dag: &'a Dag,
    steps: Vec<Step>,
    slots: Slots,
    /// By node: its step, if it is made.
    begins: Vec<To>,
}

/// So many bytes must be there, or a walk goes elsewhere.
#[derive(Clone, Copy)]
struct Length {
    bytes: u32,
    short: NodeId,
}

/// What a node of two ways asks.
enum Question {
    /// Whether there are so many bytes.
    Least(u32),
    Equal(Window),
    /// Anything else of a place.
    Range(Test),
}

impl Draft<'_> {
    fn begin(&mut self, id: NodeId) -> To {
        let dag = self.dag;
        let (length, body) = match dag.node(id) {
            Node::Leaf(_) => return To::leaf(id, dag.base(id) + 1),
            Node::Len { bytes, yes, no } => (Some(Length { bytes: *bytes, short: *no }), *yes),
            Node::Probe(_) | Node::Base { .. } => (None, id),
        };
        match dag.node(body) {
            Node::Leaf(_) | Node::Len { .. } => self.straight(length, nothing(), body),
            Node::Base { advance, to } => {
                let (offset, left) = frame(advance.field.end());
                let low = advance.field.shift();
                let (shift, mask) = (left + low, advance.field.mask >> low);
                let test = Test::Base { offset, shift, mask, times: advance.times, plus: advance.plus };
                self.straight(length, test, *to)
            }
            Node::Probe(probe) => match probe.cases.as_slice() {
                [] => self.straight(length, nothing(), probe.default),
                [case] => {
                    let fail = self.fail(probe, case, length);
                    self.together(length, body, fail)
                }
                _ => self.switch(length, probe),
            },
        }
    }

    fn push(&mut self, length: Option<Length>, test: Test, yes: To, no: To) -> To {
        let (need, short) = match length {
            Some(Length { bytes, short }) => (bytes.saturating_add(1), self.begins[short.index()]),
            None => (0, no),
        };
        self.steps.push(Step { need, short, test, yes, no });
        To::step(self.steps.len() - 1)
    }

    /// A step that is no question.
    fn straight(&mut self, length: Option<Length>, test: Test, to: NodeId) -> To {
        let to = self.begins[to.index()];
        if length.is_none() && !matches!(test, Test::Base { .. }) {
            return to;
        }
        self.push(length, test, to, to)
    }

    /// Which way of a probe with one case is no: one that questions before or behind it say no by, else the default.
    fn fail(&self, Probe { default, .. }: &Probe, case: &Case, before: Option<Length>) -> NodeId {
        let ways = [(*default, case.to), (case.to, *default)];
        let before = ways.iter().find(|(no, _)| before.is_some_and(|before| before.short == *no));
        let behind = || ways.iter().find(|(no, yes)| self.question(*yes, *no).is_some());
        before.or_else(behind).map_or(*default, |(no, _)| *no)
    }

    /// What a node asks if it has two ways, of which this one is no; and where it leads if the answer is yes.
    fn question(&self, id: NodeId, fail: NodeId) -> Option<(Question, NodeId)> {
        match self.dag.node(id) {
            Node::Len { bytes, yes, no } if *no == fail => Some((Question::Least(*bytes), *yes)),
            Node::Probe(Probe { place, cases, default }) => match cases.as_slice() {
                [Case { first, last, to }] if *default == fail && first == last => {
                    Some((Question::Equal(Window::new(place, *first)), *to))
                }
                [Case { first, last, to }] if *default == fail => {
                    Some((Question::Range(range(place, *first, *last, Side::In)), *to))
                }
                [Case { first, last, to }] if *to == fail => {
                    Some((Question::Range(range(place, *first, *last, Side::Out)), *default))
                }
                _ => None,
            },
            Node::Len { .. } | Node::Base { .. } | Node::Leaf(_) => None,
        }
    }

    /// Questions from this node on that all lead to `fail` if the answer is no.
    fn together(&mut self, mut length: Option<Length>, mut at: NodeId, fail: NodeId) -> To {
        let mut windows: Vec<Window> = Vec::new();
        let mut range = None;
        while let Some((question, next)) = self.question(at, fail) {
            let fits = match question {
                Question::Least(bytes) if length.is_none() => {
                    length = Some(Length { bytes, short: fail });
                    true
                }
                Question::Least(_) => false,
                Question::Equal(window) => join(&mut windows, window),
                Question::Range(test) => range.is_none() && range.replace(test).is_none(),
            };
            if !fits {
                break;
            }
            at = next;
        }
        let [yes, no] = [at, fail].map(|id| self.begins[id.index()]);
        let Some(first) = windows.first() else {
            return self.push(length, range.unwrap_or(nothing()), yes, no);
        };
        let yes = range.map_or(yes, |test| self.push(None, test, yes, no));
        let two = [first, windows.get(1).unwrap_or(first)].map(Window::loaded);
        let test = Test::Equal {
            offsets: two.map(|(offset, ..)| offset),
            masks: two.map(|(_, mask, _)| mask),
            values: two.map(|(.., value)| value),
        };
        self.push(length, test, yes, no)
    }

    /// A choice among several values: those that are few are in a table, the others behind it.
    fn switch(&mut self, length: Option<Length>, Probe { place, cases, default }: &Probe) -> To {
        let (few, wide): (Vec<Case>, Vec<Case>) =
            cases.iter().partition(|case| case.last - case.first < VALUES_MAX);
        let values = few.iter().flat_map(|case| (case.first..=case.last).map(|value| (value, case.to)));
        // Values without the bits that are read do not occur.
        let values = values.filter(|(value, _)| value & !place.mask == 0);
        let mut values: Vec<_> = values.map(|(value, to)| (Window::new(place, value), to)).collect();
        let other = self.begins[default.index()];
        if values.is_empty() {
            return self.among(length, place, &wide, other);
        }
        let other = self.among(None, place, &wide, other);
        while let Some(wider) = self.widened(&values, *default) {
            values = wider;
        }
        let (offset, mask, _) = values[0].0.loaded();
        let leads = |(window, to): &(Window, NodeId)| (window.loaded().2, self.begins[to.index()]);
        let numbers: Vec<(u64, To)> = values.iter().map(leads).collect();
        let table = self.slots.insert(&numbers, other);
        self.push(length, Test::Switch { offset, mask, table }, other, other)
    }

    /// The values with what each is followed by, if that is a question about the same neighbouring bits for all.
    fn widened(&self, values: &[(Window, NodeId)], fail: NodeId) -> Option<Vec<(Window, NodeId)>> {
        let wider = values.iter().map(|(window, at)| match self.question(*at, fail)? {
            (Question::Equal(next), to) => Some((window.and(&next)?, to)),
            _ => None,
        });
        let wider: Vec<(Window, NodeId)> = wider.collect::<Option<_>>()?;
        let alike = |two: &[(Window, NodeId)]| two[0].0.is_like(&two[1].0);
        wider.windows(2).all(alike).then_some(wider)
    }

    /// A choice among ranges, half of them at a time.
    fn among(&mut self, length: Option<Length>, place: &Place, cases: &[Case], other: To) -> To {
        match cases {
            [] => other,
            [case] => {
                let yes = self.begins[case.to.index()];
                self.push(length, range(place, case.first, case.last, Side::In), yes, other)
            }
            _ => {
                let (low, high) = cases.split_at(cases.len() / 2);
                let border = high.first().map_or(0, |case| case.first);
                let [no, yes] = [low, high].map(|half| self.among(None, place, half, other));
                self.push(length, range(place, border, place.mask, Side::In), yes, no)
            }
        }
    }
}

/// Whether values of a range are asked for, or all others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

fn range(place: &Place, first: u64, last: u64, side: Side) -> Test {
    let (offset, left) = frame(place.end());
    let left = match place.reading {
        Reading::Big => left,
        Reading::Little => 8 * u32::from(place.offset - offset),
    };
    let [mask, first, last] = [place.mask, first, last].map(|number| number << left);
    let (first, span) = match side {
        Side::In => (first, last - first),
        // From behind the range, over the greatest number, to before it.
        Side::Out => (last.wrapping_add(1), first.wrapping_sub(last).wrapping_sub(2)),
    };
    Test::Range { reading: place.reading, offset, mask, first, span }
}

/// A test that always holds.
const fn nothing() -> Test {
    Test::Equal { offsets: [0; 2], masks: [0; 2], values: [0; 2] }
}

/// Puts a window into one of at most two; says whether it could.
fn join(windows: &mut Vec<Window>, more: Window) -> bool {
    for window in windows.iter_mut() {
        if let Some(both) = window.and(&more) {
            *window = both;
            return true;
        }
    }
    let room = windows.len() < 2;
    if room {
        windows.push(more);
    }
    room
}

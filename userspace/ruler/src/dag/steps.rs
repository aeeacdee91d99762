//! From the DAG to the steps of a walker: what a packet must be asked one by one in the graph, asked at once.
//!
//! A node becomes one step, with what stands behind it in the graph where that leads to the same answer:
//! - a length before anything is asked for with it;
//! - nodes of two ways that all lead to the same node if they say no are one question, if their bytes lie in two windows;
//!   one range among them is asked for in a step of its own behind it;
//! - values that are followed each by questions about the same bytes are looked for together with those, if all the bytes lie
//!   in two windows: a filter's list of five-tuples is one look. The second may be behind the next base, as ports are.
//!
//! Nodes are taken from the leaves on, so where a step leads is known when it is made; each node has a step, because a
//! walk may begin at any.

use super::{
    Case, Dag, Node, NodeId, Probe,
    condition::{Place, Reading},
    paths::Advance,
    perfect::{Key, Slots},
    walk::{Over, Step, Stride, Test, To, Walker},
    window::{Window, frame},
};

/// A range of at most so many values is looked for value by value.
const VALUES_MAX: u64 = 16;
/// What one step asks for lies in so many windows.
const WINDOWS_MAX: usize = 2;
/// A table has at most so many keys because of questions behind its first: shared nodes could make it any number.
const KEYS_MAX: usize = 4_096;

/// The walker of a DAG.
pub(super) fn of(dag: &Dag) -> Walker {
    let begins = vec![To::step(0); dag.nodes().count()];
    let mut draft = Draft { dag, steps: Vec::new(), slots: Slots::default(), overs: Vec::new(), begins };
    for id in dag.forward().into_iter().rev() {
        draft.begins[id.index()] = draft.begin(id);
    }
    let Draft { steps, slots, overs, begins, .. } = draft;
    Walker { steps, slots, overs, begins }
}

/// Steps, as far as they are made.
struct Draft<'a> {
    dag: &'a Dag,
    steps: Vec<Step>,
    slots: Slots,
    overs: Vec<Over>,
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
            Node::Base { advance, to } => self.straight(length, Test::Base(stride(advance)), *to),
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
        if length.is_none() && !matches!(test, Test::Base(_)) {
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
                Question::Equal(window) => join(&mut windows, 0, window),
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
        let mut wanted: Vec<Wanted> = values.map(|(value, to)| Wanted::new(place, value, to)).collect();
        let other = self.begins[default.index()];
        if wanted.is_empty() {
            return self.among(length, place, &wide, other);
        }
        let other = self.among(None, place, &wide, other);
        while let Some(more) = self.more(&wanted, *default) {
            wanted = more;
        }
        let over = self.beyond(&wanted, *default).map(|(over, beyond)| {
            wanted = beyond;
            over
        });
        let keys: Vec<(Key, To)> = wanted
            .iter()
            .map(|wanted| (wanted.loaded().map(|(.., value)| value), self.begins[wanted.to.index()]))
            .collect();
        let table = self.slots.insert(&keys);
        let windows = wanted[0].loaded();
        let (offsets, masks) = (windows.map(|(offset, ..)| offset), windows.map(|(_, mask, _)| mask));
        let test = match over {
            Some(over) => Test::Across { offsets, over, masks, table },
            None => Test::Switch { offsets, masks, table },
        };
        self.push(length, test, other, other)
    }

    /// What is wanted with what each is followed by, if those are questions about the same bits for all.
    fn more(&self, wanted: &[Wanted], fail: NodeId) -> Option<Vec<Wanted>> {
        let mut more = Vec::new();
        for Wanted { windows, nearer, to } in wanted {
            for (window, to) in self.values(*to, fail)? {
                let mut windows = windows.clone();
                if !join(&mut windows, *nearer, window) || more.len() == KEYS_MAX {
                    return None;
                }
                more.push(Wanted { windows, nearer: *nearer, to });
            }
        }
        more.windows(2).all(|two| two[0].is_like(&two[1])).then_some(more)
    }

    /// What is wanted in one window with what each is followed by behind the same next base, if those are questions too.
    fn beyond(&mut self, wanted: &[Wanted], fail: NodeId) -> Option<(u16, Vec<Wanted>)> {
        let over = u16::try_from(self.overs.len()).ok()?;
        let (first, ..) = self.hop(wanted.first()?.to, fail)?;
        let mut beyond = Vec::new();
        for Wanted { windows, to, .. } in wanted {
            let (hop, to) = self.hop(*to, fail)?;
            if hop != first || windows.len() == WINDOWS_MAX {
                return None;
            }
            beyond.push(Wanted { windows: windows.clone(), nearer: windows.len(), to });
        }
        let mut beyond = self.more(&beyond, fail)?;
        while let Some(more) = self.more(&beyond, fail) {
            beyond = more;
        }
        let (advance, bytes) = first;
        self.overs.push(Over { stride: stride(&advance), need: bytes.saturating_add(1) });
        Some((over, beyond))
    }

    /// The next base, and the bytes behind it without which a packet goes to `fail`; and where it goes else.
    fn hop(&self, id: NodeId, fail: NodeId) -> Option<((Advance, u32), NodeId)> {
        let Node::Base { advance, to } = self.dag.node(id) else { return None };
        match self.dag.node(*to) {
            Node::Len { bytes, yes, no } if *no == fail => Some(((*advance, *bytes), *yes)),
            _ => None,
        }
    }

    /// Which values a node asks for, and where each leads, if every other leads to `fail`.
    fn values(&self, id: NodeId, fail: NodeId) -> Option<Vec<(Window, NodeId)>> {
        let Node::Probe(Probe { place, cases, default }) = self.dag.node(id) else { return None };
        let single = cases.iter().all(|case| case.first == case.last);
        (single && !cases.is_empty() && *default == fail)
            .then(|| cases.iter().map(|case| (Window::new(place, case.first), case.to)).collect())
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

/// Bytes in at most two windows, and the node of packets that have them.
struct Wanted {
    windows: Vec<Window>,
    /// So many of them lie behind the base before.
    nearer: usize,
    to: NodeId,
}

impl Wanted {
    fn new(place: &Place, value: u64, to: NodeId) -> Self {
        Self { windows: vec![Window::new(place, value)], nearer: 0, to }
    }

    /// Whether both look at the same bits.
    fn is_like(&self, other: &Self) -> bool {
        self.windows.len() == other.windows.len()
            && self.windows.iter().zip(&other.windows).all(|(ours, theirs)| ours.is_like(theirs))
    }

    /// As [`Window::loaded`]; if there is one only, the second asks nothing.
    fn loaded(&self) -> [(u16, u64, u64); 2] {
        let one = self.windows[0].loaded();
        [one, self.windows.get(1).map_or((one.0, 0, 0), Window::loaded)]
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

/// Puts a window among those from this one on, or into one of them; says whether it could.
fn join(windows: &mut Vec<Window>, from: usize, more: Window) -> bool {
    for window in &mut windows[from..] {
        if let Some(both) = window.and(&more) {
            *window = both;
            return true;
        }
    }
    let room = windows.len() < WINDOWS_MAX;
    if room {
        windows.push(more);
    }
    room
}

/// The way to a next base.
fn stride(Advance { field, times, plus }: &Advance) -> Stride {
    let (offset, left) = frame(field.end());
    let low = field.shift();
    Stride { offset, shift: left + low, mask: field.mask >> low, times: *times, plus: *plus }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
mod tests {
    use super::*;
    use crate::{bundle::Bundle, dag::Limits, resolve::resolve};

    /// The names of the tests that a packet meets whose answers are all yes. The range is that of the length of IPv4 headers.
    fn met(rules: &str) -> Vec<&'static str> {
        let source = format!("include \"layouts.rli\"\nfilter met\n{rules}  * => accept;\n");
        let (filters, found) = resolve(&Bundle::new("met.rl", source));
        let filter = filters.first().unwrap_or_else(|| panic!("{found:?}"));
        let walker = of(&Dag::build(filter, &Limits::default()));
        let mut names = Vec::new();
        let mut at = walker.begins[0];
        while let Some(step) = walker.steps.get(at.index()) {
            let (name, next) = match step.test {
                Test::Equal { .. } => ("equal", step.yes),
                Test::Range { .. } => ("range", step.yes),
                Test::Switch { table, .. } => ("switch", walker.slots.any(&table)),
                Test::Across { table, .. } => ("across", walker.slots.any(&table)),
                Test::Base(_) => ("base", step.yes),
            };
            names.push(name);
            at = next;
        }
        names
    }

    fn rules(count: u32, rule: impl Fn(u32) -> String) -> String {
        (0..count).map(|n| format!("  Ethernet_IPv4 IPv4_UDP {} * => reject 1;\n", rule(n))).collect()
    }

    #[test]
    fn a_list_of_five_tuples_is_one_look() {
        let flow = |n| format!("with [src=10.1.0.{n}, dst=10.77.0.2] UDP with [sport={n}~2, dport=53~2]");
        assert_eq!(met(&rules(64, flow)), ["equal", "range", "across"]);
        let ports = |n| format!("with [src=10.1.0.{}] UDP with [dport={}~2]", n / 4, n % 4);
        assert_eq!(met(&rules(64, ports)), ["equal", "range", "across"]);
    }

    #[test]
    fn what_is_asked_of_some_values_only_is_a_step_of_its_own() {
        let mixed = |n| match n {
            0 => "with [src=10.1.0.0] UDP".to_owned(),
            _ => format!("with [src=10.1.0.{n}] UDP with [dport={n}~2]"),
        };
        assert_eq!(met(&rules(8, mixed))[..3], ["equal", "range", "switch"]);
    }

    #[test]
    fn nodes_that_are_shared_do_not_make_tables_without_end() {
        let any_of = |name: &str, count: u32| {
            let values: Vec<_> = (0..count).map(|n| format!("{}~2", 3 * n)).collect();
            format!("{name}={}", values.join("|"))
        };
        // 90 * 90 pairs of ports.
        let pairs = format!(
            "  Ethernet_IPv4 IPv4_UDP UDP with [{}, {}] * => reject 1;\n",
            any_of("sport", 90),
            any_of("dport", 90)
        );
        let met = met(&pairs);
        assert_eq!(met[met.len() - 2..], ["switch", "switch"], "{met:?}");
    }
}

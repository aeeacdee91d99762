//! Splits a rule into its header paths.
//!
//! It walks the pattern from the left and follows every choice as a way of its own, in order of preference, as long as
//! there are few. It stops before whatever has no known place: `*`, open repetitions, the ways that are too many. Where
//! it stops is only a matter of speed; the rest says exactly what is left.

use super::{
    condition::{self, Condition, Conjunction},
    paths::{
        Advance, CHECKS_MAX, COUNTED_BYTES_MAX, Mark, PATHS_MAX, Path, Rest, SEGMENT_BYTES_MAX, SEGMENTS_MAX,
        Segment,
    },
    ranges::Ranges,
};
use crate::resolved::{Counter, Field, LabelId, Pattern, RuleId};

/// A repetition with more choices than this stays in the rest.
const CHOICES_MAX: u32 = 4;
/// Ways that no packet can go, after which none forks any more.
const DEAD_ENDS_MAX: usize = 256;
/// Literal bytes that are compared at once: longer pieces would be shared by fewer rules.
const JOINED_BYTES_MAX: u8 = 4;

/// The paths of one rule, preferred ones first. None: it matches no packet at all.
#[must_use]
pub fn split(rule: RuleId, pattern: &Pattern) -> Vec<Path> {
    let mut done = Vec::new();
    let mut open = vec![Walk::new(pattern)];
    let mut dead_ends = 0;
    while let Some(walk) = open.pop() {
        // A way that ends nowhere leaves its room to others: without a bound each choice before it would double them.
        let room = if dead_ends < DEAD_ENDS_MAX { PATHS_MAX - done.len() - open.len() } else { 1 };
        match walk.clone().go(room) {
            Step::On(walk) => open.push(walk),
            Step::Fork(ways) => {
                dead_ends += usize::from(ways.is_empty());
                open.extend(ways.into_iter().rev());
            }
            Step::Stop => done.push(walk.finish(rule)),
        }
    }
    done
}

/// What is still to be walked.
#[derive(Clone, Debug)]
enum Todo<'a> {
    Pattern(&'a Pattern),
    /// A repetition of which some were walked already.
    Again(&'a Pattern, u32, Option<u32>),
    /// A label ends.
    End(LabelId),
}

/// A way so far.
#[derive(Clone, Debug)]
struct Walk<'a> {
    /// What comes next is last.
    todo: Vec<Todo<'a>>,
    segments: Vec<Segment>,
    /// The last one, where we are.
    here: Segment,
    begins: Vec<(LabelId, Mark)>,
    ends: Vec<(LabelId, Mark)>,
    /// Fields that count something, the segment they are in, and what is known of them.
    counters: Vec<(Counter, usize, condition::Place)>,
    /// Where the last literal byte ended: a further one is compared together with it.
    literal_end: Option<u32>,
}

/// One step.
enum Step<'a> {
    /// It went on.
    On(Walk<'a>),
    /// It goes on in these ways, preferred ones first; none is none.
    Fork(Vec<Walk<'a>>),
    /// What comes next stays in the rest.
    Stop,
}

impl<'a> Walk<'a> {
    fn new(pattern: &'a Pattern) -> Self {
        Self {
            todo: vec![Todo::Pattern(pattern)],
            segments: Vec::new(),
            here: Segment::default(),
            begins: Vec::new(),
            ends: Vec::new(),
            counters: Vec::new(),
            literal_end: None,
        }
    }

    /// One step on; a fork has at most `room` ways.
    fn go(mut self, room: usize) -> Step<'a> {
        let Some(next) = self.todo.pop() else { return Step::Stop };
        match next {
            Todo::End(label) => {
                self.ends.push((label, self.mark()));
                Step::On(self)
            }
            Todo::Again(body, least, most) => self.again(body, least, most, room),
            Todo::Pattern(Pattern::Repeat { body, least, most }) => self.again(body, *least, *most, room),
            Todo::Pattern(Pattern::Any) => Step::Stop,
            Todo::Pattern(Pattern::Seq(items)) => {
                self.todo.extend(items.iter().rev().map(Todo::Pattern));
                Step::On(self)
            }
            Todo::Pattern(Pattern::Alt(arms)) if arms.len() <= room => {
                let arm = |arm| {
                    let mut walk = self.clone();
                    walk.todo.push(Todo::Pattern(arm));
                    walk
                };
                Step::Fork(arms.iter().map(arm).collect())
            }
            Todo::Pattern(Pattern::Alt(_)) => Step::Stop,
            Todo::Pattern(Pattern::Label(label, body)) => {
                self.begins.push((*label, self.mark()));
                self.todo.extend([Todo::End(*label), Todo::Pattern(body)]);
                Step::On(self)
            }
            Todo::Pattern(Pattern::Run(fields)) => self.run(fields, room),
            Todo::Pattern(Pattern::Counted { field, times, plus }) => self.counted(*field, *times, *plus),
        }
    }

    fn again(mut self, body: &'a Pattern, least: u32, most: Option<u32>, room: usize) -> Step<'a> {
        if most == Some(0) {
            return Step::On(self);
        }
        let once = Todo::Again(body, least.saturating_sub(1), most.map(|most| most - 1));
        if 0 < least {
            self.todo.extend([once, Todo::Pattern(body)]);
            return Step::On(self);
        }
        if room < 2 || most.is_none_or(|most| CHOICES_MAX < most) {
            return Step::Stop;
        }
        let mut more = self.clone();
        more.todo.extend([once, Todo::Pattern(body)]);
        Step::Fork(vec![self, more])
    }

    /// Fields: the ways through all of them together.
    fn run(mut self, fields: &'a [Field], room: usize) -> Step<'a> {
        let begin = self.here.bytes * 8;
        let mut ways = vec![Conjunction::new()];
        let mut bit = begin;
        for field in fields {
            let Some(arms) = condition::of_field(field, bit) else { return Step::Stop };
            if room < ways.len() * arms.len() {
                return Step::Stop;
            }
            ways = ways.iter().flat_map(|way| arms.iter().map(|arm| [&way[..], arm].concat())).collect();
            if let Some(counter) = field.counts {
                let Some(place) = condition::Place::of_field(bit, field.bits) else { return Step::Stop };
                self.counters.retain(|(other, ..)| *other != counter);
                self.counters.push((counter, self.segments.len(), place));
            }
            bit += u32::from(field.bits);
        }
        self.here.bytes += (bit - begin) / 8;
        if SEGMENT_BYTES_MAX < self.here.bytes {
            return Step::Stop;
        }
        let walks: Vec<_> = ways.into_iter().filter_map(|way| self.clone().hold(way)).collect();
        // Bytes that are counted by a field of this run must be in the same part as the run: the path's or the rest's.
        let counts = || fields.iter().filter_map(|field| field.counts);
        if walks.iter().any(|walk| walk.checks() > CHECKS_MAX || counts().any(|c| !walk.reaches(c))) {
            return Step::Stop;
        }
        Step::Fork(walks)
    }

    /// With these conditions; `None` if they cannot hold.
    fn hold(mut self, conditions: Conjunction) -> Option<Self> {
        for condition in conditions {
            if self.join(&condition).is_none() {
                self.here.conditions = condition::with(self.here.conditions, condition)?;
            }
        }
        Some(self)
    }

    /// Puts a literal byte behind the one before it, so that strings are compared four bytes at a time.
    fn join(&mut self, condition: &Condition) -> Option<()> {
        let byte = condition.literal().filter(|_| condition.place.bytes == 1)?;
        let before = self.literal_end.replace(condition.place.end());
        let last = self.here.conditions.last_mut()?;
        let joins = before == Some(u32::from(condition.place.offset))
            && last.place.end() == u32::from(condition.place.offset)
            && last.place.bytes < JOINED_BYTES_MAX;
        let literal = last.literal().filter(|_| joins)?;
        last.place.bytes += 1;
        last.place.mask = last.place.ones();
        let joined = literal << 8 | byte;
        last.allowed = Ranges::of([(joined, joined)]);
        Some(())
    }

    fn counted(mut self, field: Counter, times: u32, plus: i32) -> Step<'a> {
        let here = self.segments.len();
        let place = self.counters.iter().find(|(counter, at, _)| *counter == field && *at == here);
        let Some(&(.., place)) = place else { return Step::Stop };
        let greatest = i64::from(times) * i64::try_from(place.mask >> place.shift()).unwrap_or(i64::MAX);
        let from_base = u32::try_from(i64::from(self.here.bytes) + i64::from(plus));
        let (Ok(from_base), true) = (from_base, SEGMENTS_MAX > here + 1) else { return Step::Stop };
        if i64::from(COUNTED_BYTES_MAX) < greatest + i64::from(from_base) {
            return Step::Stop;
        }
        if let Some(short) = u64::from(plus.unsigned_abs()).checked_sub(1).filter(|_| plus < 0) {
            // A count that would be negative is no match: the field must be at least this.
            let Some(least) = short.checked_div(u64::from(times)).map(|most| most + 1) else {
                return Step::Fork(Vec::new());
            };
            let first = least.checked_shl(place.shift()).filter(|_| least <= place.mask >> place.shift());
            let Some(first) = first else { return Step::Fork(Vec::new()) };
            let allowed = Ranges::of([(first, place.mask)]);
            match condition::with(self.here.conditions, Condition { place, allowed }) {
                Some(conditions) => self.here.conditions = conditions,
                None => return Step::Fork(Vec::new()),
            }
        }
        self.here.then = Some(Advance { field: place, times, plus: from_base });
        self.segments.push(std::mem::take(&mut self.here));
        self.literal_end = None;
        if self.checks() > CHECKS_MAX { Step::Stop } else { Step::On(self) }
    }

    /// Whether no way from here stops before the bytes that this field counts, if it counts any.
    fn reaches(&self, counter: Counter) -> bool {
        let mut walk = self.clone();
        while uses(&walk.todo, counter) {
            // One way only: a choice in between would have to be taken back if one of its ways stops.
            match walk.go(1) {
                Step::On(next) => walk = next,
                Step::Fork(ways) => match <[_; 1]>::try_from(ways) {
                    Ok([next]) => walk = next,
                    Err(ways) => return ways.is_empty(),
                },
                Step::Stop => return false,
            }
        }
        true
    }

    fn checks(&self) -> usize {
        let segments = self.segments.iter().chain([&self.here]);
        segments.map(|segment| segment.conditions.len() + 2).sum()
    }

    fn mark(&self) -> Mark {
        let base = u8::try_from(self.segments.len()).unwrap_or(u8::MAX);
        Mark::Behind { base, offset: self.here.bytes }
    }

    fn finish(mut self, rule: RuleId) -> Path {
        self.segments.push(std::mem::take(&mut self.here));
        let mut path =
            Path { rule, segments: self.segments, rest: Rest::End, begins: self.begins, ends: self.ends };
        let left = left(self.todo);
        if is_any(&left) {
            path.rest = Rest::Any;
            name(&left, path.end(), &mut path);
        } else if left != Pattern::Seq(Vec::new()) {
            path.rest = Rest::Pattern(left);
        }
        path
    }
}

/// Whether a counted length among these uses this field, before another field counts under the same number.
fn uses(todo: &[Todo<'_>], counter: Counter) -> bool {
    let found = todo.iter().rev().find_map(|todo| match todo {
        Todo::Pattern(pattern) | Todo::Again(pattern, ..) => first_use(pattern, counter),
        Todo::End(_) => None,
    });
    found == Some(true)
}

/// Whether the pattern first uses the field, or first sets it anew; `None` if neither.
fn first_use(pattern: &Pattern, counter: Counter) -> Option<bool> {
    match pattern {
        Pattern::Run(fields) => fields.iter().any(|field| field.counts == Some(counter)).then_some(false),
        Pattern::Any => None,
        Pattern::Seq(items) => items.iter().find_map(|item| first_use(item, counter)),
        // What only some of the arms do may still be needed behind them.
        Pattern::Alt(arms) => arms.iter().any(|arm| first_use(arm, counter) == Some(true)).then_some(true),
        Pattern::Repeat { body, .. } => first_use(body, counter).filter(|uses| *uses),
        Pattern::Counted { field, .. } => (*field == counter).then_some(true),
        Pattern::Label(_, body) => first_use(body, counter),
    }
}

/// What was not walked, as one pattern; labels that were open go on in it.
fn left(todo: Vec<Todo<'_>>) -> Pattern {
    let mut items = Vec::new();
    for next in todo.into_iter().rev() {
        match next {
            Todo::Pattern(pattern) => items.push(pattern.clone()),
            Todo::Again(body, least, most) => {
                items.push(Pattern::Repeat { body: Box::new(body.clone()), least, most });
            }
            Todo::End(label) => items = vec![Pattern::Label(label, Box::new(sequence(items)))],
        }
    }
    sequence(items)
}

fn sequence(mut items: Vec<Pattern>) -> Pattern {
    match items.pop() {
        Some(only) if items.is_empty() => only,
        last => {
            items.extend(last);
            Pattern::Seq(items)
        }
    }
}

/// Whether it is `*`, with or without a name.
fn is_any(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Any => true,
        Pattern::Label(_, body) => is_any(body),
        Pattern::Seq(items) => matches!(&items[..], [only] if is_any(only)),
        Pattern::Repeat { body, least: 0, most: None } => is_byte(body),
        _ => false,
    }
}

/// Whether it is one byte of any value, without a name.
fn is_byte(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Run(fields) => {
            let free = |field: &Field| field.all_of.is_empty() && field.counts.is_none();
            fields.iter().map(|field| u32::from(field.bits)).sum::<u32>() == 8 && fields.iter().all(free)
        }
        Pattern::Seq(items) => matches!(&items[..], [only] if is_byte(only)),
        _ => false,
    }
}

/// Gives the names in a pattern that is `*` their places: from `begin`, unless they have begun, to the packet's end.
fn name(pattern: &Pattern, begin: Mark, path: &mut Path) {
    match pattern {
        Pattern::Label(label, body) => {
            if !path.begins.iter().any(|(begun, _)| begun == label) {
                path.begins.push((*label, begin));
            }
            path.ends.push((*label, Mark::End));
            name(body, begin, path);
        }
        Pattern::Seq(items) => items.iter().for_each(|item| name(item, begin, path)),
        _ => {}
    }
}

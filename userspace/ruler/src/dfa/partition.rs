//! States that nothing tells apart, by Hopcroft's partition refinement.
//!
//! States begin as one block for each verdict. A block that some byte leads into from a part of another block splits that
//! one; of two halves only the smaller has to be looked at again, which makes it n log n.

/// States in blocks: those of one block have equal verdicts, and every class leads from them into one block.
pub(crate) struct Partition {
    order: Vec<u32>,
    place: Vec<usize>,
    block_of: Vec<usize>,
    blocks: Vec<Block>,
}

/// A block: a range of [`Partition::order`], of which the first `marked` are marked.
#[derive(Clone, Copy)]
struct Block {
    begin: usize,
    end: usize,
    marked: usize,
    waits: Waits,
}

/// Whether a block still has to split others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    No,
}

/// For each class and state, the states that the class leads from to it.
struct Sources {
    states: usize,
    heads: Vec<u32>,
    from: Vec<u32>,
}

impl Sources {
    fn of(next: &[u32], states: usize) -> Self {
        let classes = next.len() / states;
        let mut heads = vec![0_u32; states * classes + 1];
        let slot = |index: usize, next: u32| (index % classes) * states + next as usize;
        for (index, next) in next.iter().enumerate() {
            heads[slot(index, *next) + 1] += 1;
        }
        for at in 1..heads.len() {
            heads[at] += heads[at - 1];
        }
        let mut free = heads.clone();
        let mut from = vec![0; next.len()];
        for (state, row) in (0_u32..).zip(next.chunks(classes)) {
            for (class, next) in row.iter().enumerate() {
                let place = &mut free[slot(class, *next)];
                from[*place as usize] = state;
                *place += 1;
            }
        }
        Self { states, heads, from }
    }

    fn into(&self, class: usize, state: u32) -> &[u32] {
        let slot = class * self.states + state as usize;
        &self.from[self.heads[slot] as usize..self.heads[slot + 1] as usize]
    }

    fn classes(&self) -> usize {
        (self.heads.len() - 1) / self.states
    }
}

impl Partition {
    /// As few blocks as there can be. `next` has a row for each of the `verdicts`.
    pub(crate) fn coarsest<V: Copy + Ord>(next: &[u32], verdicts: &[V]) -> Self {
        let mut partition = Self::by_verdict(verdicts);
        partition.refine(&Sources::of(next, verdicts.len()));
        partition
    }

    /// How many blocks there are.
    pub(crate) const fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The block that a state is in.
    pub(crate) fn block_of(&self, state: u32) -> usize {
        self.block_of[state as usize]
    }

    /// One state of a block, which can stand for all of it.
    pub(crate) fn member(&self, block: usize) -> usize {
        self.order[self.blocks[block].begin] as usize
    }

    fn by_verdict<V: Copy + Ord>(verdicts: &[V]) -> Self {
        let mut order: Vec<u32> = (0_u32..).take(verdicts.len()).collect();
        order.sort_by_key(|state| verdicts[*state as usize]);
        let mut partition =
            Self { place: vec![0; order.len()], block_of: vec![0; order.len()], blocks: Vec::new(), order };
        for (place, state) in partition.order.iter().map(|state| *state as usize).enumerate() {
            let fresh = place == 0 || verdicts[state] != verdicts[partition.order[place - 1] as usize];
            if fresh {
                partition.blocks.push(Block { begin: place, end: place, marked: 0, waits: Waits::No });
            }
            let last = partition.blocks.len() - 1;
            partition.blocks[last].end = place + 1;
            partition.place[state] = place;
            partition.block_of[state] = last;
        }
        partition
    }

    fn refine(&mut self, sources: &Sources) {
        let mut waiting: Vec<usize> = (0..self.blocks.len()).collect();
        self.blocks.iter_mut().for_each(|block| block.waits = Waits::Yes);
        let mut touched = Vec::new();
        while let Some(splitter) = waiting.pop() {
            let Block { begin, end, .. } = self.blocks[splitter];
            self.blocks[splitter].waits = Waits::No;
            let members = self.order[begin..end].to_vec();
            for class in 0..sources.classes() {
                for member in &members {
                    for source in sources.into(class, *member) {
                        self.mark(*source, &mut touched);
                    }
                }
                touched.drain(..).for_each(|block| self.split(block, &mut waiting));
            }
        }
    }

    fn mark(&mut self, state: u32, touched: &mut Vec<usize>) {
        let block = self.block_of[state as usize];
        let (place, first_unmarked) =
            (self.place[state as usize], self.blocks[block].begin + self.blocks[block].marked);
        if place < first_unmarked {
            return;
        }
        if self.blocks[block].marked == 0 {
            touched.push(block);
        }
        self.blocks[block].marked += 1;
        let other = self.order[first_unmarked];
        self.order.swap(place, first_unmarked);
        self.place[other as usize] = place;
        self.place[state as usize] = first_unmarked;
    }

    fn split(&mut self, block: usize, waiting: &mut Vec<usize>) {
        let Block { begin, end, marked, waits } = self.blocks[block];
        self.blocks[block].marked = 0;
        let middle = begin + marked;
        if middle == end {
            return;
        }
        let fresh = self.blocks.len();
        self.blocks[block].begin = middle;
        self.blocks.push(Block { begin, end: middle, marked: 0, waits: Waits::No });
        for place in begin..middle {
            self.block_of[self.order[place] as usize] = fresh;
        }
        let again = if waits == Waits::Yes || marked <= end - middle { fresh } else { block };
        self.blocks[again].waits = Waits::Yes;
        waiting.push(again);
    }
}

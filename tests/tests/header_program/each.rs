//! Many cases of one test in a chain: all, or none where the kernel may not be asked.
use anyhow::{Context as _, Result};
use octroi_tests::{
    lab::{self, Need},
    scale::Seed,
};
use ruler::resolved::Filter;

use crate::{case::Chain, holds, made::Dice};

/// Cases for which the watch over a hanging test lasts.
const WATCH: usize = 50;

/// Does something with each case, some at a time, so that the watch is set anew; returns whether that was possible.
pub(crate) fn each<T>(
    id: &'static str,
    cases: impl Iterator<Item = T>,
    mut each: impl FnMut(&Chain, T) -> Result<()>,
) -> Result<bool> {
    let mut cases = cases.peekable();
    while cases.peek().is_some() {
        let Some(_lab) = lab::require(id, &[Need::Bpf])? else { return Ok(false) };
        let chain = Chain::new()?;
        cases.by_ref().take(WATCH).try_for_each(|case| each(&chain, case))?;
    }
    Ok(true)
}

/// The same with so many filters, made from the seed.
pub(crate) fn each_filter(
    id: &'static str,
    filters: u64,
    mut with: impl FnMut(&Chain, &mut Dice, &Filter) -> Result<()>,
) -> Result<bool> {
    let seed = Seed::get();
    each(id, 0..filters, |chain, number| {
        let mut dice = Dice::of(seed.0.wrapping_add(number));
        let filter = holds::filter(&mut dice);
        with(chain, &mut dice, &filter).with_context(|| format!("{seed}, filter {number}: {filter:#?}"))
    })
}

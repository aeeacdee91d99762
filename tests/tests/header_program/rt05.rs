//! RT5: a program does what its DAG does, on frames of every length.
use anyhow::{Result, ensure};
use octroi_tests::scale::RT05_FILTERS;

use crate::{
    each::each_filter,
    holds::{Seen, agree},
};

#[test]
fn rt05_a_program_does_what_its_dag_does() -> Result<()> {
    let mut seen = Seen::default();
    let ran = each_filter("rt05_random", RT05_FILTERS.count(), |chain, dice, filter| {
        agree(chain, filter, dice, &mut seen)
    })?;
    ensure!(!ran || seen.stopped < seen.whole, "most frames must reach a leaf in the kernel: {seen:?}");
    println!("{seen:?}");
    Ok(())
}

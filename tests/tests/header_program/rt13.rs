//! RT13: the property of the fuzz target `ruler_ebpf`, for the inputs that are kept and for some others.
use anyhow::{Context as _, Result};
use octroi_tests::scale::RT13_INPUTS;

use crate::{each::each, holds::holds, kept};

#[test]
fn b11_rt13_any_program_does_what_its_dag_does() -> Result<()> {
    let inputs = kept::inputs("ruler_ebpf", RT13_INPUTS.count());
    each("rt13_ebpf", inputs, |chain, (name, input)| {
        println!("{name}");
        holds(chain, &input).context(name)
    })?;
    Ok(())
}

//! Whatever the bytes of a source are, compiling it ends, panics nowhere, and points only into the source.

use ruler::{
    bundle::Bundle,
    dag, dfa,
    diagnostic::text,
    exec::ladder::{self, Slow},
    filter::{self, Limits},
    tdfa,
};

/// Small, so that no input takes long; what is over them is diagnosed, which is looked at too.
fn limits() -> Limits {
    let dfa = dfa::Limits { states: 200, transitions: 1 << 12, work: 1 << 14 };
    let engines = ladder::Limits {
        dfa,
        direct: dfa,
        nfa_states: 4_096,
        arena_bytes: 1 << 14,
        slow: Slow::Allowed,
        ..ladder::Limits::default()
    };
    let labels = tdfa::Limits { states: 200, work: 1 << 14, nfa_states: 4_096, ..tdfa::Limits::default() };
    Limits { engines, dag: dag::Limits { nodes: 500, entries: 1 << 12 }, labels }
}

pub(crate) fn holds(source: &[u8]) {
    let bundle = Bundle::new("a.rl", source);
    let (filters, found) = ruler::resolve(&bundle);
    assert!(found.len() <= 50, "{} diagnostics", found.len());
    assert!(filters.is_empty() || !found.iter().any(|one| one.is_error()), "{found:?}");
    let troubles = filters.iter().flat_map(|resolved| filter::Filter::build(resolved, "a.rl", &limits()).1);
    let found: Vec<_> = found.into_iter().chain(troubles).collect();
    for one in &found {
        let length = bundle.source(&one.file).map_or(0, <[u8]>::len);
        for span in one.notes.iter().map(|note| note.span).chain([one.span]) {
            assert!(span.start <= span.end && span.end <= length, "{one:?}");
        }
    }
    // Showing them must not panic either.
    let _ = text(&bundle, &found);
}

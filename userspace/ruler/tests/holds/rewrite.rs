//! Every plan of rewriting gives what its slow twin gives, for the output and the packet that some bytes stand for.

#[path = "../rewrite/agree.rs"]
mod agree;
#[path = "../rewrite/draft.rs"]
mod draft;
#[path = "made.rs"]
mod from;
#[path = "../rewrite/naive.rs"]
mod naive;
#[path = "../rewrite/rule.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod rule;
#[path = "../rewrite/traffic.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod traffic;

pub(crate) fn holds(input: &[u8]) {
    let Some(trial) = from::from_bytes(&agree::trials(), input) else { return };
    if let Err(difference) = agree::holds(&trial) {
        panic!("{difference}: {trial:?}");
    }
}

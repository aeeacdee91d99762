//! The targets that the engines themselves implement: `sink` consumes a packet, `echo` sends it back.
use abi::steer::{builtin, kind};

use crate::{
    counter::{Counter, Loss},
    frame::Frame,
    program::{Env, Out, Stage, Verdict},
    stage::{echo, steer::Steered},
};

/// The stage of the builtin targets.
#[derive(Debug, Default)]
pub struct Builtin {}

impl Stage<Steered> for Builtin {
    /// Steering has just read the line that an echo rewrites.
    const FETCHES: bool = false;

    #[inline(always)]
    fn step(&mut self, frame: &mut Frame, context: &mut Steered, _: &Env<'_>) -> Verdict {
        match (context.meta.kind, context.meta.id) {
            (kind::BUILTIN, builtin::SINK) => Verdict::Deliver,
            (kind::BUILTIN, builtin::ECHO) => match echo::reply(frame.bytes_mut(), &context.meta) {
                Ok(()) => Verdict::Transmit(Out::Back),
                Err(echo::Refused) => Verdict::Drop(const { Loss::of(Counter::EchoRefused) }),
            },
            (kind::BUILTIN, _) => Verdict::Drop(const { Loss::of(Counter::RxNoStage) }),
            _ => Verdict::Next,
        }
    }
}

//! What is asked of filters: attached, which takes a while and holds nobody up, detached, listed.
//!
//! Sources and keys come as sealed documents, and so does what is too long for an answer. A request whose connection ends
//! before its filter is ready is forgotten.
use std::os::fd::OwnedFd;

use client::{
    control::{
        answer::Done,
        refusal::{Code, Refusal},
        request::Op,
        ruler::{FilterRow, KEY_BYTES, MAX_BUNDLE, RulerAttach, RulerAttached},
    },
    document::{self, DocumentError},
};
use ruler::{bundle::Bundle, rewrite::key::Key};
use serde::Serialize;

use super::{Daemon, answers::value, instance::Instance, sessions::Outcome};
use crate::{
    control::listener::{Asked, Id},
    filters::{Made, Order, header::Chain},
};

/// Who waits for a filter: a connection, and the number of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The connection.
    pub(super) of: Id,
    id: u64,
}

/// Whether an operation is one of filters.
pub(super) const fn concerns(op: &Op) -> bool {
    matches!(op, Op::RulerAttach(_) | Op::RulerDetach(_) | Op::RulerList(_))
}

impl Daemon {
    /// Answers a request, or sees to it that it is answered when the filter is ready.
    pub(super) fn answer_filter(&mut self, asked: Asked) {
        let waiting = Waiting { of: asked.from, id: asked.request.id };
        let outcome = match asked.request.op {
            Op::RulerAttach(ask) => {
                let ordered = order(&mut self.instance, ask, asked.lent)
                    .and_then(|(order, chain)| self.workshop.take(waiting, order, chain));
                match ordered {
                    Ok(()) => return,
                    Err(refusal) => Err(refusal),
                }
            }
            Op::RulerDetach(detach) => self.instance.road.detach_filter(&detach.at).and_then(|row| {
                tracing::info!(filter = row.filter, at = %row.at, "detached");
                with_document(&Done {}, &row)
            }),
            Op::RulerList(_) => with_document(&Done {}, &self.instance.road.filter_rows()),
            _ => Err(Code::Eproto.because("not an operation of filters")),
        };
        self.send(waiting.of, waiting.id, outcome);
    }

    /// Attaches every filter that is ready, and tells who asked for it.
    pub(super) fn take_filters(&mut self) {
        while let Some((waiting, made)) = self.workshop.ready() {
            let outcome = made.and_then(|made| attach(&mut self.instance, made));
            self.send(waiting.of, waiting.id, outcome);
        }
    }
}

fn order(
    instance: &mut Instance,
    ask: RulerAttach,
    lent: Vec<OwnedFd>,
) -> Result<(Order, Option<Chain>), Refusal> {
    let mut lent = lent.into_iter();
    let bundle = lent.next().ok_or_else(|| Code::Einval.because("no bundle came with the request"))?;
    let bundle: Bundle =
        document::read_json(bundle, MAX_BUNDLE).map_err(|error| refused("the bundle", error))?;
    let key = lent.next().map(key).transpose()?;
    let site = instance.road.filter_site(&ask.at)?;
    let chain = instance.road.chain(&ask.at)?;
    Ok((Order { ask, bundle, key, site, generation: instance.road.number_filter() }, chain))
}

fn key(fd: OwnedFd) -> Result<Key, Refusal> {
    let bytes = document::read(fd, KEY_BYTES).map_err(|error| refused("the key", error))?;
    let wrong = |bytes: Vec<u8>| {
        Code::Einval.because(format_args!("the key: {} bytes, it must have {KEY_BYTES}", bytes.len()))
    };
    bytes.try_into().map_err(wrong)
}

fn attach(instance: &mut Instance, made: Made) -> Outcome {
    let Made { mut said, filter, headed } = made;
    let Some(filter) = filter else { return with_document(&RulerAttached { generation: None }, &said) };
    let (attached, replaced) = instance.road.attach_filter(filter, headed)?;
    say(&attached, replaced.as_ref());
    let generation = Some(attached.generation);
    (said.attached, said.replaced) = (Some(attached), replaced);
    with_document(&RulerAttached { generation }, &said)
}

fn say(attached: &FilterRow, replaced: Option<&FilterRow>) {
    let FilterRow { at, filter, generation, degraded, .. } = attached;
    match replaced {
        Some(old) => tracing::info!(filter, generation, %at, replaces = old.generation, "attached"),
        None => tracing::info!(filter, generation, %at, "attached"),
    }
    if let Some(degraded) = degraded {
        tracing::warn!(filter, %at, "runs slowly: {degraded}");
    }
}

fn with_document(answer: &impl Serialize, document: &impl Serialize) -> Outcome {
    let document = document::write_json(document).map_err(|error| Code::Eio.because(error))?;
    Ok((value(answer)?, vec![document]))
}

fn refused(what: &str, error: DocumentError) -> Refusal {
    match error {
        DocumentError::TooLong { given, limit } => {
            Refusal::limit(format_args!("bytes of {what}"), given, limit)
        }
        DocumentError::Kernel(_) => Code::Eio.because(format_args!("{what}: {error}")),
        DocumentError::NotSealed | DocumentError::Shape(_) => {
            Code::Einval.because(format_args!("{what}: {error}"))
        }
    }
}

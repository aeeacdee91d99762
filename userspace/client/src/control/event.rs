//! What a daemon says unasked: a datagram with `event` and no `id`.
//!
//! ```text
//! {"v":1,"event":"revoked","tuple":3,"reason":"port_taken"}
//! {"v":1,"event":"address_gone","tuple":3}
//! ```
use serde::{Deserialize, Serialize};

use super::{
    VERSION,
    datagram::{self, DatagramError},
};

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A tuple, or the whole session, is gone.
    Revoked {
        /// The tuple.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tuple: Option<u16>,
        /// The session's slot, if it is gone as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<u16>,
        /// Why.
        reason: Reason,
    },
    /// The tuple's address is on no served interface any more.
    AddressGone {
        /// The tuple.
        tuple: u16,
    },
    /// It is there again.
    AddressBack {
        /// The tuple.
        tuple: u16,
    },
}

/// Why something was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody who may released it.
    Released,
    /// The application broke the rules of its rings.
    Violation,
    /// A socket of the OS took the port while no daemon ran.
    PortTaken,
    /// Its interface is no longer served.
    InterfaceGone,
    /// The daemon goes down.
    Shutdown,
}

#[derive(Serialize, Deserialize)]
struct Envelope<E> {
    v: u64,
    #[serde(flatten)]
    event: E,
}

impl Event {
    /// The datagram of this event.
    ///
    /// # Errors
    /// [`DatagramError`], which no event of ours can meet.
    pub fn write(&self) -> Result<Vec<u8>, DatagramError> {
        datagram::write(&Envelope { v: VERSION, event: self })
    }

    /// The event of a datagram; `None` if it is none that this program knows.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let fields = datagram::object(datagram).ok()?;
        if !fields.contains_key("event") || fields.contains_key("id") {
            return None;
        }
        let envelope: Envelope<Self> = serde_json::from_value(fields.into()).ok()?;
        (envelope.v == VERSION).then_some(envelope.event)
    }

    /// Whether a datagram is an event, known or not: it has `event` and no `id`.
    #[must_use]
    pub fn is_event(datagram: &[u8]) -> bool {
        datagram::object(datagram)
            .is_ok_and(|fields| fields.contains_key("event") && !fields.contains_key("id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_specified_form() {
        let revoked = Event::Revoked { tuple: Some(3), session: None, reason: Reason::PortTaken };
        let text = br#"{"v":1,"event":"revoked","tuple":3,"reason":"port_taken"}"#;
        assert_eq!(revoked.write().unwrap(), text);
        for event in [
            revoked,
            Event::Revoked { tuple: None, session: Some(7), reason: Reason::Violation },
            Event::AddressGone { tuple: 1 },
            Event::AddressBack { tuple: 1 },
        ] {
            let datagram = event.write().unwrap();
            assert!(Event::is_event(&datagram));
            assert_eq!(Event::read(&datagram), Some(event));
        }
    }

    #[test]
    fn replies_and_the_unknown_are_no_events() {
        for (text, is) in [
            (r#"{"v":1,"id":1,"ok":{}}"#, false),
            (r#"{"v":1,"id":1,"event":"address_gone","tuple":1}"#, false),
            (r#"{"v":2,"event":"address_gone","tuple":1}"#, true),
            (r#"{"v":1,"event":"moon_full"}"#, true),
            ("[]", false),
        ] {
            assert_eq!(Event::read(text.as_bytes()), None, "{text}");
            assert_eq!(Event::is_event(text.as_bytes()), is, "{text}");
        }
    }
}

//! One query in, one reply out (RFC 1035, RFC 2308, RFC 6891).
//!
//! It refuses to answer what is no query: a responder that answered replies could be set to talk to another one for ever.
//! What cannot be read gets FORMERR, what is read and not served NOTIMP or REFUSED.
use domain::{
    base::{
        Message, MessageBuilder, Rtype,
        iana::{Class, Opcode, OptRcode, Rcode},
        message_builder::{AdditionalBuilder, PushError},
        name::ToName,
    },
    rdata::AllRecordData,
};

use super::zone::Zone;

/// Longest reply to those who do not say how much they take.
pub const PLAIN_LIMIT: usize = 512;

/// Longest reply to anybody: it must not need fragments (`DNS flag day` 2020).
pub const EDNS_LIMIT: u16 = 1232;

/// Records of a query's additional section that are looked at: an OPT and a signature are all that a query has.
const MAX_ADDITIONAL: u16 = 4;

/// The reply to a message, if it deserves one.
#[must_use]
pub fn answer(zone: &Zone, query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_octets(query).ok()?;
    if query.header().qr() {
        return None;
    }
    let asked = match Asked::read(&query) {
        Ok(asked) => asked,
        Err(rcode) => return Some(bare(&query, rcode)),
    };
    let whole = asked.reply(zone, &query, asked.limit);
    // What does not fit is asked for again over TCP, which is not served here: the client is told, and has no answer.
    whole.or_else(|_| asked.truncated(&query)).ok()
}

/// What a well-formed query wants.
struct Asked<N> {
    name: N,
    rtype: Rtype,
    class: Class,
    edns: Edns,
    limit: usize,
}

/// How a query extends the protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edns {
    /// Not at all.
    Absent,
    /// As we do.
    Known,
    /// In a version that we do not know.
    Newer,
}

impl<'q> Asked<domain::base::ParsedName<&'q [u8]>> {
    fn read(query: &'q Message<&'q [u8]>) -> Result<Self, Rcode> {
        if query.header().opcode() != Opcode::QUERY {
            return Err(Rcode::NOTIMP);
        }
        let counts = query.header_counts();
        let plain = counts.qdcount() == 1 && counts.ancount() == 0 && counts.nscount() == 0;
        if !plain || MAX_ADDITIONAL < counts.arcount() {
            return Err(Rcode::FORMERR);
        }
        let question = query.sole_question().map_err(|_| Rcode::FORMERR)?;
        let (edns, limit) = extension(query)?;
        Ok(Self { name: *question.qname(), rtype: question.qtype(), class: question.qclass(), edns, limit })
    }

    /// The whole reply, unless it is longer than `limit`.
    fn reply(&self, zone: &Zone, query: &Message<&[u8]>, limit: usize) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        builder.set_push_limit(limit);
        let mut answers = builder.start_answer(query, Rcode::NOERROR)?;
        if self.edns == Edns::Newer {
            let mut additional = answers.additional();
            opt(&mut additional, OptRcode::BADVERS)?;
            return Ok(additional.finish());
        }
        let refused = match self.rtype {
            Rtype::AXFR | Rtype::IXFR => Some(Rcode::NOTIMP),
            _ if self.class != Class::IN || !zone.covers(&self.name) => Some(Rcode::REFUSED),
            _ => None,
        };
        if let Some(rcode) = refused {
            answers.header_mut().set_rcode(rcode);
            return self.finish(answers.additional());
        }
        answers.header_mut().set_aa(true);
        let mut found = false;
        for data in zone.find(&self.name, self.rtype) {
            answers.push((&self.name, Class::IN, zone.ttl(), data))?;
            found = true;
        }
        if !found && !zone.exists(&self.name) {
            answers.header_mut().set_rcode(Rcode::NXDOMAIN);
        }
        let mut authority = answers.authority();
        if !found {
            // How long "no" may be remembered.
            authority.push((zone.apex(), Class::IN, zone.ttl(), zone.soa()))?;
        }
        self.finish(authority.additional())
    }

    /// The reply that says that the reply is too long.
    fn truncated(&self, query: &Message<&[u8]>) -> Result<Vec<u8>, PushError> {
        let mut answers = MessageBuilder::new_vec().start_answer(query, Rcode::NOERROR)?;
        answers.header_mut().set_aa(true);
        answers.header_mut().set_tc(true);
        self.finish(answers.additional())
    }

    fn finish(&self, mut additional: AdditionalBuilder<Vec<u8>>) -> Result<Vec<u8>, PushError> {
        if self.edns != Edns::Absent {
            let rcode = additional.header().rcode();
            opt(&mut additional, rcode.into())?;
        }
        Ok(additional.finish())
    }
}

/// What the OPT record of a query says, if it has one.
fn extension(query: &Message<&[u8]>) -> Result<(Edns, usize), Rcode> {
    let (mut edns, mut limit) = (Edns::Absent, PLAIN_LIMIT);
    for record in query.additional().map_err(|_| Rcode::FORMERR)? {
        let record = record.map_err(|_| Rcode::FORMERR)?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        let root = record.owner().to_name::<Vec<u8>>().is_root();
        if edns != Edns::Absent || !root {
            return Err(Rcode::FORMERR);
        }
        // The class is how much the client takes, the second byte of the TTL its version (RFC 6891, 6.1.3).
        let takes = record.class().to_int();
        limit = usize::from(takes.min(EDNS_LIMIT)).max(PLAIN_LIMIT);
        let [_, version, _, _] = record.ttl().as_secs().to_be_bytes();
        edns = if version == 0 { Edns::Known } else { Edns::Newer };
        record.to_any_record::<AllRecordData<_, _>>().map_err(|_| Rcode::FORMERR)?;
    }
    Ok((edns, limit))
}

fn opt(additional: &mut AdditionalBuilder<Vec<u8>>, rcode: OptRcode) -> Result<(), PushError> {
    additional.opt(|opt| {
        opt.set_udp_payload_size(EDNS_LIMIT);
        opt.set_rcode(rcode);
        Ok(())
    })
}

/// A reply that is a header and nothing else: what was asked could not be read, or is not to be repeated.
fn bare(query: &Message<&[u8]>, rcode: Rcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let (asked, header) = (query.header(), builder.header_mut());
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_rcode(rcode);
    builder.finish()
}

#[cfg(test)]
mod tests;

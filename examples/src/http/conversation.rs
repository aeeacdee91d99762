//! One connection's side of HTTP/1.1: bytes in, bytes out.
//!
//! Requests may come in any pieces and one after another without waiting; they are answered in order. It knows no socket
//! and no clock (so no `Date`: RFC 9110, 6.6.1), allocates nothing after its first request, and refuses to keep more than
//! [`MAX_INPUT`] bytes that were not answered yet.
use std::io::Write as _;

use super::{
    object::{Kib, Objects},
    request::{self, After, Asked, Method, Wrong},
};

/// Bytes of requests that wait: also the longest head.
pub const MAX_INPUT: usize = 8192;

const INDEX: &str = "Objects: /1k, /2k, … /1024k, each with bytes that depend on its size alone.\n";
const NOT_FOUND: &str = "There is no such object.\n";

/// A conversation.
///
/// ```
/// # use octroi_examples::http::{conversation::Conversation, object::Objects};
/// let objects = Objects::default();
/// let mut talk = Conversation::default();
/// talk.take(b"GET /1k HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
/// let [head, body] = talk.reply(&objects);
/// assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
/// assert_eq!(body.len(), 1024);
/// talk.sent(head.len() + 1024);
/// assert!(talk.is_over());
/// ```
#[derive(Debug, Default)]
pub struct Conversation {
    /// What was not answered yet.
    input: Vec<u8>,
    /// Bytes of `input` whose lines hold no whole head.
    seen: usize,
    /// Whether nothing more will come.
    ended: bool,
    head: Vec<u8>,
    body: Body,
    /// Bytes of head and body that have left.
    sent: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Waits for a request.
    #[default]
    Asked,
    /// A reply is on its way.
    Answering(After),
    /// The last reply has left, or none will ever be asked for.
    Over,
}

#[derive(Clone, Copy, Debug, Default)]
enum Body {
    #[default]
    None,
    Object(Kib),
    Text(&'static str),
}

impl Body {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Object(object) => object.bytes(),
            Self::Text(text) => text.len(),
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Object(_) => "application/octet-stream",
            Self::None | Self::Text(_) => "text/plain; charset=utf-8",
        }
    }
}

impl Conversation {
    /// Begins anew, with another peer.
    pub fn reset(&mut self) {
        self.input.clear();
        (self.seen, self.ended, self.sent) = (0, false, 0);
        (self.body, self.state) = (Body::None, State::Asked);
        self.head.clear();
    }

    /// Bytes that [`Conversation::take`] has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.is_over() { MAX_INPUT } else { MAX_INPUT - self.input.len() }
    }

    /// Takes what came, and returns how much of it: [`Conversation::room`], or all. After the last reply it listens no
    /// longer, and takes all.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_over() {
            return bytes.len();
        }
        let taken = bytes.len().min(self.room());
        self.input.extend(bytes.iter().take(taken));
        self.answer();
        taken
    }

    /// The peer will say nothing more; what it asked is still answered.
    pub fn end_of_input(&mut self) {
        self.ended = true;
        if self.state == State::Asked {
            self.state = State::Over;
        }
    }

    /// What is to be sent now: what is left of a head and of a body.
    #[must_use]
    pub fn reply<'a>(&'a self, objects: &'a Objects) -> [&'a [u8]; 2] {
        let State::Answering(_) = self.state else { return [&[]; 2] };
        let body = match self.body {
            Body::None => &[],
            Body::Object(object) => objects.get(object),
            Body::Text(text) => text.as_bytes(),
        };
        let of_body = self.sent.saturating_sub(self.head.len());
        [self.head.get(self.sent..).unwrap_or_default(), body.get(of_body..).unwrap_or_default()]
    }

    /// So many bytes of [`Conversation::reply`] have left; what follows may be the reply to the next request.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        let State::Answering(after) = self.state else { return };
        if self.sent < self.head.len() + self.body.len() {
            return;
        }
        self.state = match after {
            After::Keep => State::Asked,
            After::Close => State::Over,
        };
        self.answer();
        if self.ended && self.state == State::Asked {
            // A head that is not whole will never be.
            self.state = State::Over;
        }
    }

    /// Whether everything was said: the connection is to be closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Answers the next request, if it is whole and its turn has come.
    fn answer(&mut self) {
        if self.state != State::Asked {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        // Only where a line ends can a head be whole, or something be known to be wrong.
        let fresh = input.get(self.seen..).unwrap_or_default();
        let lines = fresh.iter().rposition(|&byte| byte == b'\n').map(|at| self.seen + at + 1);
        let read = lines.map_or(Ok(None), |lines| request::read(input.get(..lines).unwrap_or_default()));
        self.seen = lines.unwrap_or(self.seen);
        match read {
            Ok(Some(asked)) => {
                let used = asked.len;
                self.serve(asked);
                input.drain(..used);
                self.seen = 0;
            }
            Ok(None) if input.len() < MAX_INPUT => {}
            Ok(None) => self.refuse(Wrong::Fields),
            Err(wrong) => self.refuse(wrong),
        }
        self.input = input;
    }

    fn serve(&mut self, asked: Asked<'_>) {
        let (status, body) = match Kib::from_path(asked.path) {
            Some(object) => ("200 OK", Body::Object(object)),
            None if asked.path == "/" => ("200 OK", Body::Text(INDEX)),
            None => ("404 Not Found", Body::Text(NOT_FOUND)),
        };
        self.begin(status, "", body, asked.after);
        if asked.method == Method::Head {
            self.body = Body::None;
        }
    }

    /// Answers what cannot be served, and closes: where the next request begins is not known.
    fn refuse(&mut self, wrong: Wrong) {
        let (status, field) = match wrong {
            Wrong::Malformed => ("400 Bad Request", ""),
            Wrong::Method => ("405 Method Not Allowed", "Allow: GET, HEAD\r\n"),
            Wrong::Fields => ("431 Request Header Fields Too Large", ""),
            Wrong::Version => ("505 HTTP Version Not Supported", ""),
        };
        self.begin(status, field, Body::None, After::Close);
    }

    fn begin(&mut self, status: &str, field: &str, body: Body, after: After) {
        let connection = match after {
            After::Keep => "keep-alive",
            After::Close => "close",
        };
        self.head.clear();
        // Writing to a vector cannot fail.
        let _ = write!(
            self.head,
            "HTTP/1.1 {status}\r\nServer: octroi-http\r\nContent-Type: {}\r\nContent-Length: {}\r\n{field}Connection: {connection}\r\n\r\n",
            body.kind(),
            body.len(),
        );
        (self.body, self.sent, self.state) = (body, 0, State::Answering(after));
    }
}

#[cfg(test)]
mod tests;

//! What a request asks for, and what is wrong with it (RFC 9110, RFC 9112).
//!
//! The head is read by `httparse`; here is only what it means. It refuses to read request bodies: none of what is served
//! needs one, so whoever announces one gets an answer and a closed connection, and nothing of the body is ever taken for
//! another request.
use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

/// Header fields of one request.
pub const MAX_FIELDS: usize = 64;

/// A request whose head is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'h> {
    /// GET or HEAD.
    pub method: Method,
    /// The path, without a query.
    pub path: &'h str,
    /// Whether the connection is to be used again.
    pub after: After,
    /// Bytes of the head.
    pub len: usize,
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head alone.
    Head,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It waits for the next request.
    Keep,
    /// It is closed.
    Close,
}

/// Why a request is not answered with what it asks for. The connection is closed after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no HTTP, or contradicts itself: 400.
    Malformed,
    /// A method that is not served: 405.
    Method,
    /// More header fields than [`MAX_FIELDS`], or a longer head than a conversation keeps: 431.
    Fields,
    /// Neither HTTP/1.0 nor HTTP/1.1: 505.
    Version,
}

/// Reads the request at the beginning of `bytes`; `None` while its head is not whole.
///
/// # Errors
/// [`Wrong`], as soon as it is seen.
pub fn read(bytes: &[u8]) -> Result<Option<Asked<'_>>, Wrong> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    let len = match request.parse(bytes) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(Error::TooManyHeaders) => return Err(Wrong::Fields),
        Err(Error::Version) => return Err(Wrong::Version),
        Err(_) => return Err(Wrong::Malformed),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Wrong::Malformed);
    };
    let fields = &*request.headers;
    // RFC 9112, 3.2: exactly one Host, from HTTP/1.1 on.
    let hosts = named(fields, "host").count();
    if 1 < hosts || (version == 1 && hosts == 0) {
        return Err(Wrong::Malformed);
    }
    let body = has_body(fields)?;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => return Err(Wrong::Method),
    };
    let keeps = match version {
        0 => says(fields, "keep-alive") && !says(fields, "close"),
        _ => !says(fields, "close"),
    };
    let after = if keeps && !body { After::Keep } else { After::Close };
    Ok(Some(Asked { method, path: path(target)?, after, len }))
}

/// Whether a body follows, which nobody will read.
fn has_body(fields: &[Header<'_>]) -> Result<bool, Wrong> {
    let coded = named(fields, "transfer-encoding").next().is_some();
    let mut sized = false;
    for length in named(fields, "content-length") {
        let digits = str::from_utf8(length).map_err(|_| Wrong::Malformed)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Wrong::Malformed);
        }
        sized |= digits.bytes().any(|byte| byte != b'0');
    }
    // RFC 9112, 6.3: both at once may be an attempt at smuggling.
    if coded && sized { Err(Wrong::Malformed) } else { Ok(coded || sized) }
}

/// Whether `Connection` has this option.
fn says(fields: &[Header<'_>], option: &str) -> bool {
    let options = named(fields, "connection").flat_map(|value| value.split(|&byte| byte == b','));
    options.map(<[u8]>::trim_ascii).any(|given| given.eq_ignore_ascii_case(option.as_bytes()))
}

fn named<'f>(fields: &'f [Header<'f>], name: &str) -> impl Iterator<Item = &'f [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// The path of an origin-form or absolute-form target (RFC 9112, 3.2).
fn path(target: &str) -> Result<&str, Wrong> {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    if !path.starts_with('/') {
        return Err(Wrong::Malformed);
    }
    Ok(path.split_once('?').map_or(path, |(path, _)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, expected: Result<Option<(Method, &str, After)>, Wrong>) {
        let found = read(request.as_bytes());
        assert_eq!(found.map(|it| it.map(|it| (it.method, it.path, it.after))), expected, "{request:?}");
        if let Ok(Some(asked)) = found {
            assert_eq!(asked.len, request.len(), "{request:?}");
        }
    }

    #[test]
    fn requests_are_understood() {
        use {After::*, Method::*};
        for (request, method, path, after) in [
            ("GET /8k HTTP/1.1\r\nHost: a\r\n\r\n", Get, "/8k", Keep),
            ("HEAD /8k HTTP/1.1\r\nhost:a\r\n\r\n", Head, "/8k", Keep),
            ("GET /8k?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Get, "/8k", Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, Close\r\n\r\n", Get, "/", Close),
            ("GET /8k HTTP/1.0\r\n\r\n", Get, "/8k", Close),
            ("GET /8k HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Get, "/8k", Keep),
            ("GET http://a/8k HTTP/1.1\r\nHost: a\r\n\r\n", Get, "/8k", Keep),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", Get, "/", Keep),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Get, "/", Keep),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Get, "/", Close),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Get, "/", Close),
        ] {
            check(request, Ok(Some((method, path, after))));
        }
    }

    #[test]
    fn a_head_is_awaited_byte_by_byte() {
        let whole = "GET /8k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        (0..whole.len()).for_each(|len| check(&whole[..len], Ok(None)));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for (request, wrong) in [
            ("\u{1}\r\n\r\n", Wrong::Malformed),
            ("GET /8k HTTP/1.1\r\n\r\n", Wrong::Malformed),
            ("GET /8k HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Wrong::Malformed),
            ("GET 8k HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::Malformed),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Wrong::Malformed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Wrong::Malformed,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Wrong::Method),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Wrong::Version),
        ] {
            check(request, Err(wrong));
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_FIELDS));
        check(&many, Err(Wrong::Fields));
    }
}

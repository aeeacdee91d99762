//! Conversations held from memory: whole, in pieces, one request behind another, and with those who do not speak HTTP.
use proptest::prelude::*;

use super::*;

/// Everything that is said until the conversation waits or is over, sent `step` bytes at a time.
fn said(talk: &mut Conversation, objects: &Objects, step: usize) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let [head, body] = talk.reply(objects);
        let next: Vec<u8> = head.iter().chain(body).copied().take(step).collect();
        if next.is_empty() {
            return all;
        }
        talk.sent(next.len());
        all.extend(next);
    }
}

/// The status line and body of each reply in `all`; `heads` says how many of them have no body in spite of their length.
fn replies(mut all: &[u8], heads: usize) -> Vec<(String, Vec<u8>)> {
    let mut replies = Vec::new();
    while !all.is_empty() {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = str::from_utf8(&all[..end]).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length = if replies.len() < heads { 0 } else { length.parse().expect("a number") };
        let status = head.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("HTTP");
        replies.push((status.to_owned(), all[end..end + length].to_vec()));
        all = &all[end + length..];
    }
    replies
}

#[track_caller]
fn check(request: &[u8], status: &str, over: bool) {
    let objects = Objects::default();
    let mut talk = Conversation::default();
    assert_eq!(talk.take(request), request.len());
    let all = said(&mut talk, &objects, 1000);
    assert_eq!(replies(&all, 0).iter().map(|(status, _)| status.as_str()).collect::<Vec<_>>(), [status]);
    assert_eq!(talk.is_over(), over);
}

#[test]
fn every_reply_has_its_status() {
    check(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", false);
    check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", false);
    check(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found", false);
    check(b"GET /1025k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "404 Not Found", true);
    check(b"GET /1k HTTP/1.0\r\n\r\n", "200 OK", true);
    // A client that speaks TLS.
    check(b"\x16\x03\x01\x02\x00\n", "400 Bad Request", true);
    check(b"\r\n#\x7f\n", "400 Bad Request", true);
    check(b"GET /1k HTTP/1.1\r\n\r\n", "400 Bad Request", true);
    check(b"DELETE /1k HTTP/1.1\r\nHost: a\r\n\r\n", "405 Method Not Allowed", true);
    check(b"GET /1k HTTP/3.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported", true);
}

#[test]
fn objects_arrive_whole_however_they_are_cut() {
    let objects = Objects::default();
    for step in [1, 7, 1460, 1 << 20] {
        let mut talk = Conversation::default();
        b"GET /8k HTTP/1.1\r\nHost: a\r\n\r\n".chunks(step).for_each(|piece| {
            talk.take(piece);
        });
        let all = said(&mut talk, &objects, step);
        let whole = objects.get(Kib::new(8).expect("an object")).to_vec();
        assert_eq!(replies(&all, 0), [("200 OK".to_owned(), whole)], "{step}");
    }
}

#[test]
fn requests_behind_each_other_are_answered_in_order() {
    let objects = Objects::default();
    let mut talk = Conversation::default();
    let requests =
        b"HEAD /2k HTTP/1.1\r\nHost: a\r\n\r\nGET /3k HTTP/1.1\r\nHost: a\r\n\r\nGET /1k HTTP/1.0\r\n\r\nGET /4k";
    talk.take(requests);
    let all = said(&mut talk, &objects, 999);
    let lengths: Vec<usize> = replies(&all, 1).iter().map(|(_, body)| body.len()).collect();
    assert_eq!((lengths, talk.is_over()), (vec![0, 3072, 1024], true));
    // After the last reply nothing is listened to.
    assert_eq!(talk.take(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n"), 29);
    assert!(said(&mut talk, &objects, 999).is_empty());
}

#[test]
fn no_more_is_kept_than_allowed_and_a_longer_head_is_refused() {
    for filler in [&b"x"[..], b"X: y\r\n"] {
        let mut talk = Conversation::default();
        talk.take(b"GET / HTTP/1.1\r\n");
        while 0 < talk.room() && talk.state == State::Asked {
            talk.take(filler);
            assert!(talk.input.len() <= MAX_INPUT);
        }
        let all = said(&mut talk, &Objects::default(), 1000);
        assert!(all.starts_with(b"HTTP/1.1 431 ") && talk.is_over());
    }
    // While a reply is on its way, no more than this waits behind it.
    let mut talk = Conversation::default();
    talk.take(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(talk.take(&[b'x'; 2 * MAX_INPUT]), MAX_INPUT);
}

#[test]
fn a_peer_that_says_no_more_is_answered_first() {
    let objects = Objects::default();
    for (input, answers) in [
        (&b""[..], 0),
        (b"GET /1k", 0),
        (b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n", 1),
        (b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\nGET /2k HTTP/1.1\r\nHost: a\r\n\r\nGET", 2),
    ] {
        let mut talk = Conversation::default();
        talk.take(input);
        talk.end_of_input();
        let all = said(&mut talk, &objects, 100);
        assert_eq!((replies(&all, 0).len(), talk.is_over()), (answers, true), "{input:?}");
    }
}

#[test]
fn a_conversation_begins_anew() {
    let objects = Objects::default();
    let mut talk = Conversation::default();
    talk.take(b"GET /1k HTTP/1.0\r\n\r\n");
    talk.sent(10);
    talk.end_of_input();
    talk.reset();
    talk.take(b"HEAD /1k HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(said(&mut talk, &objects, 100).starts_with(b"HTTP/1.1 200 OK\r\n") && !talk.is_over());
}

proptest! {
    /// Whatever comes in whatever pieces: one answer for the pieces and for the whole, bounded memory, no panic.
    #[test]
    fn pieces_mean_what_the_whole_means(
        noise in prop::collection::vec(
            prop_oneof![
                Just(b"GET /1k HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
                Just(b"HEAD /1k HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..40),
            ],
            0..12,
        ),
        step in 1_usize..50,
    ) {
        let objects = Objects::default();
        let bytes = noise.concat();
        let answer = |step: usize| {
            let mut talk = Conversation::default();
            let mut all = Vec::new();
            for piece in bytes.chunks(step) {
                let mut left = piece;
                while !left.is_empty() {
                    left = &left[talk.take(left)..];
                    all.extend(said(&mut talk, &objects, 777));
                }
            }
            talk.end_of_input();
            all.extend(said(&mut talk, &objects, 777));
            (all, talk.is_over())
        };
        let (whole, over) = answer(bytes.len().max(1));
        prop_assert_eq!(answer(step), (whole, over));
        prop_assert!(over);
    }
}

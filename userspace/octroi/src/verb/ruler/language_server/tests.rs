//! A server and an editor over a connection in memory.
use std::{fs, path::Path, thread};

use lsp_server::{Connection, Message, Notification, Request};
use serde_json::{Value, json};

use super::*;

/// An editor whose server runs on a thread of its own.
struct Editor {
    connection: Connection,
    server: thread::JoinHandle<Result<()>>,
    requests: i32,
}

impl Editor {
    fn start() -> Self {
        Self::reading(Reading::default())
    }

    fn reading(reading: Reading) -> Self {
        let (connection, other) = Connection::memory();
        let server = thread::spawn(move || serve(&other, &reading));
        let mut editor = Self { connection, server, requests: 0 };
        let answer = editor.ask("initialize", json!({ "capabilities": {} }));
        assert_eq!(answer["capabilities"]["textDocumentSync"], 1, "{answer}");
        editor.tell("initialized", json!({}));
        editor
    }

    fn tell(&self, method: &str, params: Value) {
        let notification = Notification::new(method.to_owned(), params);
        self.connection.sender.send(notification.into()).unwrap();
    }

    /// The result of a request, or its error.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let request = Request::new(self.requests.into(), method.to_owned(), params);
        self.connection.sender.send(request.into()).unwrap();
        loop {
            if let Message::Response(answer) = self.connection.receiver.recv().unwrap() {
                let answer = serde_json::to_value(answer).unwrap();
                return answer.get("result").or(answer.get("error")).cloned().unwrap_or(Value::Null);
            }
        }
    }

    fn open(&self, path: &Path, text: &str) {
        let uri = place::uri(path.to_str().unwrap());
        let document = json!({ "uri": uri, "languageId": "ruler", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
    }

    fn change(&self, path: &Path, text: &str) {
        let document = json!({ "uri": place::uri(path.to_str().unwrap()), "version": 2 });
        let changes = json!([{ "text": text }]);
        self.tell("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
    }

    fn close(&self, path: &Path) {
        let document = json!({ "uri": place::uri(path.to_str().unwrap()) });
        self.tell("textDocument/didClose", json!({ "textDocument": document }));
    }

    /// The next diagnostics: the name of their file, and code and first line of each.
    fn shown(&self) -> (String, Vec<(String, u64)>) {
        loop {
            let Message::Notification(shown) = self.connection.receiver.recv().unwrap() else { continue };
            assert_eq!(shown.method, PublishDiagnostics::METHOD);
            let uri = shown.params["uri"].as_str().unwrap();
            let name = uri.rsplit('/').next().unwrap().to_owned();
            let each = shown.params["diagnostics"].as_array().unwrap().iter().map(|found| {
                let code = found["code"].as_str().unwrap_or("-").to_owned();
                (code, found["range"]["start"]["line"].as_u64().unwrap())
            });
            return (name, each.collect());
        }
    }

    fn end(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        self.tell("exit", Value::Null);
        self.server.join().unwrap().unwrap();
    }
}

const RIGHT: &str =
    "include \"layouts.rli\"\nfilter a\n  Ethernet_IPv4 IPv4_UDP * => reject 1;\n  * => accept;\n";

#[test]
fn what_is_wrong_is_shown_while_it_is_written_and_gone_when_it_is_mended() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a b.rl");
    let editor = Editor::start();
    editor.open(&file, &RIGHT.replace("IPv4_UDP", "IPv4_UPD"));
    assert_eq!(editor.shown(), ("a%20b.rl".into(), vec![("RL202".into(), 2)]));
    editor.change(&file, RIGHT);
    assert_eq!(editor.shown(), ("a%20b.rl".into(), vec![]));
    editor.end();
}

#[test]
fn what_is_open_counts_as_it_is_there_in_what_includes_it_too() {
    let place = tempfile::tempdir().unwrap();
    let [program, included] = ["a.rl", "b.rli"].map(|name| place.path().join(name));
    fs::write(&included, "pattern T : 1;\n").unwrap();
    let editor = Editor::start();
    editor.open(&program, "include \"b.rli\"\nfilter a T * => reject; * => accept;\n");
    assert_eq!(editor.shown(), ("a.rl".into(), vec![]));
    // It is on disk as it was.
    editor.open(&included, "pattern U : 1;\n");
    let (name, found) = editor.shown();
    assert_eq!((name.as_str(), found.len(), found[0].1), ("a.rl", 1, 1), "{found:?}");
    assert_eq!(editor.shown(), ("b.rli".into(), vec![]));
    editor.change(&included, "pattern ;\n");
    let both: Vec<_> = [editor.shown(), editor.shown()].map(|(name, found)| (name, found.len())).into();
    assert!(both[1].0 == "b.rli" && 0 < both[1].1, "{both:?}");
    editor.close(&included);
    assert_eq!([editor.shown(), editor.shown()].map(|(_, found)| found.len()), [0, 0]);
    editor.end();
}

#[test]
fn what_is_found_in_a_searched_directory_is_the_file_that_is_open() {
    let place = tempfile::tempdir().unwrap();
    let included = place.path().join("lib/b.rli");
    fs::create_dir(place.path().join("lib")).unwrap();
    fs::write(&included, "pattern ;\n").unwrap();
    // As somebody may say it who starts an editor elsewhere.
    let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "../").collect::<String>();
    let relative = Path::new(&up).join(place.path().strip_prefix("/").unwrap()).join("lib");
    let reading = Reading { include: vec![relative], allow_slow: false };
    let editor = Editor::reading(absolute(&reading).unwrap());
    editor.open(&place.path().join("a.rl"), "include \"b.rli\"\nfilter a * => accept;\n");
    assert_eq!(editor.shown(), ("a.rl".into(), vec![]));
    let (name, found) = editor.shown();
    assert!(name == "b.rli" && !found.is_empty(), "{found:?}");
    editor.open(&included, "");
    assert_eq!([editor.shown(), editor.shown()].map(|(_, found)| found.len()), [0, 0]);
    editor.end();
}

#[test]
fn what_it_does_not_do_it_says_and_goes_on() {
    let mut editor = Editor::start();
    let answer = editor.ask("textDocument/hover", json!({}));
    assert!(answer["message"].as_str().unwrap().contains("textDocument/hover"), "{answer}");
    editor.tell("textDocument/didOpen", json!({ "nothing": "of it" }));
    let document = json!({ "uri": "untitled:one", "languageId": "ruler", "version": 1, "text": "filter" });
    editor.tell("textDocument/didOpen", json!({ "textDocument": document }));
    let gone = std::env::temp_dir().join("of no such directory").join("c.rl");
    editor.open(&gone, "filter");
    let (name, found) = editor.shown();
    assert!(name == "c.rl" && !found.is_empty(), "{found:?}");
    editor.end();
}

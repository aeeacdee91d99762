//! `octroi ruler` as a user meets it: what the program prints, where, and its exit status.
//!
//! No daemon and no privilege; everything happens in a directory that vanishes with its test.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

struct Scene(TempDir);

impl Scene {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            let path = scene.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_octroi"));
        command.current_dir(self.0.path()).arg("ruler").args(words);
        command
    }

    /// Runs it; `input` is its standard input.
    fn fed(&self, words: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Exit status, standard output and standard error.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output = self.command(words).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, words: &[&str]) -> (i32, Value) {
        let (status, text, _) = self.run(&[words, &["--json"]].concat());
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

const GOOD: &[u8] =
    b"include \"layouts.rli\"\nfilter www\n  eh:Ethernet_IPv4 ih:IPv4_TCP th:TCP with [dest=80~2] p:*\n  \
    => eh with [dst=0#6] ih th p class 5;\n  * => accept 2;\n";
const WARNED: &[u8] = b"filter f byte* 42 => accept;";
const WRONG: &[u8] = b"filter f 1 => y;";

fn pcap(packets: &[&[u8]]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for (at, bytes) in (1_u32..).zip(packets) {
        let len = bytes.len() as u32;
        file.extend([at, 5, len, len].map(u32::to_le_bytes).concat());
        file.extend(*bytes);
    }
    file
}

#[test]
fn check_has_the_exit_status_that_scripts_need() {
    let scene = Scene::new(&[("good.rl", GOOD), ("warned.rl", WARNED), ("wrong.rl", WRONG)]);
    let status = |words: &[&str]| scene.run(words).0;
    assert_eq!(status(&["check", "good.rl"]), 0);
    assert_eq!(status(&["check", "warned.rl"]), 0);
    assert_eq!(status(&["check", "warned.rl", "--deny-warnings"]), 1);
    assert_eq!(status(&["check", "good.rl", "wrong.rl"]), 1);
    assert_eq!(status(&["check"]), 2);
    assert_eq!(status(&["check", "good.rl", "--nonsense"]), 2);
    let (status, out, error) = scene.run(&["check", "gone.rl"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(error.contains("gone.rl: No such file"), "{error}");
}

#[test]
fn check_prints_diagnostics_and_what_filters_become() {
    let scene = Scene::new(&[("good.rl", GOOD), ("wrong.rl", WRONG)]);
    let (_, text, error) = scene.run(&["check", "good.rl"]);
    assert!(text.starts_with("good.rl: filter www: "), "{text}");
    assert!(text.contains("     1     3  rewrite     5  patch       -\n"), "{text}");
    assert!(text.contains("     2     5  accept      2  -           -\n"), "{text}");
    assert_eq!(error, "");
    let (_, text, _) = scene.run(&["check", "wrong.rl"]);
    assert!(text.starts_with("error[RL301]: ") && text.contains("wrong.rl:1:15"), "{text}");
}

#[test]
fn check_says_the_same_to_programs() {
    let scene = Scene::new(&[("good.rl", GOOD), ("wrong.rl", WRONG)]);
    let (status, json) = scene.json(&["check", "good.rl", "wrong.rl"]);
    assert_eq!(status, 1);
    assert_eq!(json[0]["file"], "good.rl");
    assert_eq!(json[0]["diagnostics"], Value::Array(Vec::new()));
    let filter = &json[0]["filters"][0];
    assert_eq!((&filter["filter"], &filter["rules"][0]["plan"]), (&"www".into(), &"patch".into()));
    let found = &json[1]["diagnostics"][0];
    assert_eq!(
        (&found["code"], &found["severity"], &found["file"]),
        (&"RL301".into(), &"error".into(), &"wrong.rl".into())
    );
    assert_eq!((&found["span"]["start"], &found["span"]["end"]), (&14.into(), &15.into()));
    assert_eq!(json[1]["filters"], Value::Array(Vec::new()));
}

#[test]
fn included_files_are_beside_the_file_then_in_the_directories_that_were_named() {
    let scene = Scene::new(&[
        ("src/a.rl", b"include \"b.rli\" include \"c.rli\" filter f B C * => accept;"),
        ("src/b.rli", b"pattern B : 1"),
        ("one/b.rli", b"pattern No : 9"),
        ("two/c.rli", b"pattern C : 2"),
    ]);
    let (status, text, _) = scene.run(&["check", "src/a.rl", "-I", "one", "-I", "two"]);
    assert_eq!(status, 0, "{text}");
    let (status, text, _) = scene.run(&["check", "src/a.rl", "-I", "one"]);
    assert!(status == 1 && text.contains("RL006") && text.contains("`c.rli` is not there"), "{text}");
    let (status, _, error) = scene.run(&["check", "src"]);
    assert!(status == 1 && error.contains("src: Is a directory"), "{error}");
}

#[test]
fn run_writes_counts_and_fails_where_it_must() {
    let scene = Scene::new(&[("f.rl", b"filter f 1 * => accept 7; 2 b:byte => b; 3 * => reject 4;")]);
    fs::write(scene.path("in"), pcap(&[&[1, 9], &[2, 8], &[3], &[4]])).unwrap();
    let words = ["run", "f.rl", "--pcap", "in", "--out", "out"];
    let (status, json) = scene.json(&words);
    assert_eq!(status, 0);
    assert_eq!(json["read"]["packets"], 4);
    assert_eq!(json["written"]["packets"], 2);
    assert_eq!(
        json["rules"][2],
        serde_json::json!({"number": 3, "line": 1, "action": "reject", "code": 4, "packets": 1})
    );
    assert_eq!((&json["drops"]["ruler_reject"], &json["drops"]["ruler_no_match"]), (&1.into(), &1.into()));
    let (_, text, error) = scene.run(&words);
    assert!(text.starts_with("filter f: 4 packets read, 2 written\n"), "{text}");
    assert!(text.contains("ruler_no_match        1") && error.is_empty(), "{text}{error}");
    let mut cut = pcap(&[&[1, 9], &[1, 8]]);
    cut.pop();
    fs::write(scene.path("in"), cut).unwrap();
    let (status, text, error) = scene.run(&words);
    assert_eq!(status, 1);
    assert!(text.starts_with("filter f: 1 packets read, 1 written\n"), "{text}");
    assert!(error.contains("in: byte 42: ends in the middle of a packet"), "{error}");
    assert_eq!(fs::read(scene.path("out")).unwrap(), pcap(&[&[1, 9]]));
    assert_eq!(scene.run(&words[..4]).0, 2);
}

#[test]
fn run_is_a_filter_between_programs() {
    let scene = Scene::new(&[("f.rl", b"filter f 1 * => accept;")]);
    let output = scene.fed(&["run", "f.rl", "--pcap", "-", "--out", "-"], &pcap(&[&[1, 9], &[2]]));
    assert!(output.status.success());
    assert_eq!(output.stdout, pcap(&[&[1, 9]]));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 packets read, 1 written"));
}

#[test]
fn a_rule_that_anonymises_needs_a_key() {
    let scene = Scene::new(&[("f.rl", b"filter f a:byte#4 => prefix_anon(a);"), ("short", b"0123")]);
    fs::write(scene.path("in"), pcap(&[&[10, 0, 0, 1]])).unwrap();
    fs::write(scene.path("key"), [7; 32]).unwrap();
    let words = ["run", "f.rl", "--pcap", "in", "--out", "out"];
    let (status, _, error) = scene.run(&words);
    assert!(status == 1 && error.starts_with("error[RL404]: ") && error.contains("--key-file"), "{error}");
    let (status, _, error) = scene.run(&[&words[..], &["--key-file", "short"]].concat());
    assert!(status == 1 && error.contains("key file short: 4 bytes, but a key is 32 raw bytes"), "{error}");
    assert!(!scene.path("out").exists());
    assert_eq!(scene.run(&[&words[..], &["--key-file", "key"]].concat()).0, 0);
}

#[test]
fn dump_is_the_same_each_time() {
    let scene = Scene::new(&[("good.rl", GOOD)]);
    let parts = ["definitions", "rules", "paths", "nodes", "engines", "ways", "rules", "instructions"];
    for (stage, part) in ["ast", "ir", "paths", "dag", "dfa", "tdfa", "plan", "ebpf"].into_iter().zip(parts) {
        let words = ["dump", "good.rl", "--stage", stage];
        let (status, text, error) = scene.run(&words);
        assert_eq!((status, error.as_str()), (0, ""), "{stage}");
        assert_eq!(scene.run(&words).1, text);
        let (_, json) = scene.json(&words);
        assert!(json[0]["stage"] == stage && json[0][part].is_array(), "{json}");
        assert_eq!(scene.json(&words).1, json);
    }
    for stage in ["dag", "dfa", "tdfa"] {
        let (_, dot, _) = scene.run(&["dump", "good.rl", "--stage", stage, "--dot"]);
        assert!(dot.starts_with("digraph ") && dot.ends_with("}\n"), "{dot}");
    }
    assert_eq!(scene.run(&["dump", "good.rl", "--stage", "nonsense"]).0, 2);
}

#[test]
fn compile_writes_what_was_asked_for() {
    let scene = Scene::new(&[("good.rl", GOOD)]);
    let (status, json) = scene.json(&["compile", "good.rl", "--emit", "bundle,report", "-o", "new/dir"]);
    assert_eq!(
        (status, json),
        (0, serde_json::json!(["new/dir/good.report.json", "new/dir/good.bundle.rl"]))
    );
    let report: Value =
        serde_json::from_slice(&fs::read(scene.path("new/dir/good.report.json")).unwrap()).unwrap();
    assert_eq!(report["filters"][0]["filter"], "www");
    let bundle = fs::read_to_string(scene.path("new/dir/good.bundle.rl")).unwrap();
    assert!(bundle.starts_with("pattern ") && !bundle.contains("include"), "{bundle}");
    assert_eq!(scene.run(&["check", "new/dir/good.bundle.rl"]).0, 0);
    assert_eq!(scene.run(&["compile", "good.rl", "--emit", "tables"]).0, 2);
}

#[test]
fn bench_measures_each_side_as_often() {
    let scene = Scene::new(&[("f.rl", b"filter f * \"xyzzy\" * => reject; * => accept;")]);
    fs::write(scene.path("in"), pcap(&[&[1; 100], &[2; 60]])).unwrap();
    let (status, json) = scene.json(&["bench", "f.rl", "--traffic", "in", "--engine", "lanes,lazy"]);
    assert_eq!((status, &json["packets"]), (0, &2.into()));
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().filter_map(|row| row["engine"].as_str()).collect();
    assert_eq!(names, ["one", "lanes", "lazy"]);
    assert!(
        rows.iter()
            .all(|row| row["turns"] == rows[0]["turns"] && row["packets_per_second"].as_f64() > Some(0.0))
    );
    assert_eq!(rows[0]["ratio_to_one"], 1.0);
    let (status, _, error) = scene.run(&["bench", "f.rl", "--peers"]);
    assert!(status == 1 && error.contains("cargo xtask bench ruler"), "{error}");
}

#[test]
fn the_language_server_speaks_on_standard_input_and_output() {
    let scene = Scene::new(&[]);
    let framed = |message: Value| {
        let text = message.to_string();
        format!("Content-Length: {}\r\n\r\n{text}", text.len())
    };
    let uri = format!("file://{}", scene.path("a.rl").display());
    let document =
        json!({ "uri": uri, "languageId": "ruler", "version": 1, "text": "filter a 1 * => accep;" });
    let talk = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "capabilities": {} } }),
        json!({ "jsonrpc": "2.0", "method": "initialized", "params": {} }),
        json!({ "jsonrpc": "2.0", "method": "textDocument/didOpen", "params": { "textDocument": document } }),
        // Answered, so that what it says before is there before the end.
        json!({ "jsonrpc": "2.0", "id": 2, "method": "shutdown" }),
        json!({ "jsonrpc": "2.0", "method": "exit" }),
    ];
    let output = scene.fed(&["language-server", "--stdio"], talk.map(framed).concat().as_bytes());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.starts_with("Content-Length: "), "{said}");
    assert!(said.contains("\"textDocumentSync\":1") && said.contains("\"id\":2,\"result\":null"), "{said}");
    // An editor that is gone is an end, and one that speaks another language an error.
    let output = scene.fed(&["language-server"], b"");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.is_empty() && !error.contains("panicked"), "{error}");
}

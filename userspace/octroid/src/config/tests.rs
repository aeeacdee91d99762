//! The configuration: defaults, every key once, every mistake with its place.
use std::{fmt::Write as _, path::Path, time::Duration};

use client::control::{
    request::{LocalAddr, OnCrash, Proto, TargetAdd, TargetKind},
    ruler::Scope,
};
use ixp::port::PortId;
use ixp::spec::{Idle, Layout};
use multistack::{
    drr::Weight,
    policy::{Addresses, Permission, Ports, Rule, Who},
    tuple,
};
use proptest::prelude::*;
use xsk::{
    bpf::XdpMode,
    socket::{BusyPoll, CopyMode, InterfaceName, QueueConfig},
};

use super::{
    file::{Listen, Queues},
    settings::{Overrides, Settings},
    *,
};

fn read(text: &str) -> Result<Settings, Mistake> {
    parse(&Source { path: Path::new("octroid.toml"), text }, &Overrides::default())
}

#[test]
fn a_name_is_enough() {
    let settings = read("interface = [{ name = \"veth1\" }]").unwrap();
    assert_eq!(settings.instance.as_str(), "main");
    let (spec, confine) = (ixp::spec::EngineSpec::on_cores(vec![0]), settings.engine.confine);
    assert_ne!(confine, ixp::spec::Confine::NOT);
    assert_eq!(settings.engine, ixp::spec::EngineSpec { confine, ..spec });
    assert_eq!(settings.targets, []);
    assert_eq!(settings.metrics, None);
    assert_eq!(settings.stack, settings::Stack { grace: Duration::from_secs(10), rules: vec![] });
    let [interface] = settings.interfaces.as_slice() else { panic!("one interface") };
    let expected = settings::Interface {
        mode: XdpMode::Native,
        queues: Queues::All,
        vlan: vec![],
        transit: false,
        queue: QueueConfig::new(InterfaceName::new("veth1").unwrap(), 0, PortId::new(0)),
        filter: None,
    };
    assert_eq!(*interface, expected);
}

#[test]
fn every_key_means_something() {
    let text = r#"
        instance = "lab"
        engine = { cores = [0, 1, 1], idle = "sleep", batch = 32, backlog = 128 }
        metrics = { listen = "unix:/run/octroi/lab/metrics.sock" }
        [[interface]]
        name = "eth7"
        mode = "generic"
        copy = "zero-copy"
        queues = 2
        vlan = [100, 7]
        transit = true
        umem = { chunk = 4096, frames = 4096, headroom = 32 }
        rings = 512
        busy_poll = { timeout_us = 20, budget = 64 }
        [interface.filter]
        file = "filters/lab.rl"
        include = ["/usr/share/octroi", "more"]
        key_file = "key"
        name = "lab"
        allow_slow = true
        scope = "interface"
        pass = [3, 4]
        force = true
        [[target]]
        kind = "sink"
        proto = "tcp"
        addr = "2001:db8::1"
        port = 9
        on_crash = "pass"
        filter = { file = "/etc/octroi/sink.rl" }
        [stack]
        grace_s = 3
        [[stack.policy]]
        uid = 1000
        protocols = ["udp", "sctp"]
        ports = [53, "8000-8999"]
        addresses = ["192.0.2.0/24", "2001:db8::/32"]
        max_tuples = 5
        max_mib = 7
        l2 = true
        unbound = true
        weight = 3
        [[stack.policy]]
        gid = 100
    "#;
    let settings =
        parse(&Source { path: Path::new("dir/octroid.toml"), text }, &Overrides::default()).unwrap();
    assert_eq!(settings.instance.as_str(), "lab");
    assert_eq!((settings.engine.layout, settings.engine.idle), (Layout::RunToCompletion, Idle::Sleep));
    assert_eq!(settings.engine.cores, [0, 1, 1]);
    assert_eq!((settings.engine.limits.batch, settings.engine.limits.backlog_frames), (32, 128));
    assert_eq!(settings.metrics, Some(Listen::Unix("/run/octroi/lab/metrics.sock".into())));
    let expected = settings::Interface {
        mode: XdpMode::Generic,
        queues: Queues::Exactly(2),
        vlan: vec![100, 7],
        transit: true,
        queue: QueueConfig {
            chunk: 4096,
            frames: 4096,
            headroom: 32,
            ring: 512,
            mode: CopyMode::ZeroCopy,
            busy_poll: Some(BusyPoll { timeout_us: 20, budget: 64 }),
            vlan_tags: 2,
            ..QueueConfig::new(InterfaceName::new("eth7").unwrap(), 0, PortId::new(0))
        },
        filter: Some(file::Filter {
            file: "dir/filters/lab.rl".into(),
            include: vec!["/usr/share/octroi".into(), "dir/more".into()],
            key_file: Some("dir/key".into()),
            name: Some("lab".into()),
            allow_slow: true,
            scope: Scope::Interface,
            pass: vec![3, 4],
            force: true,
        }),
    };
    assert_eq!(settings.interfaces, [expected]);
    let addr = LocalAddr::Ip("2001:db8::1".parse().unwrap());
    let add = TargetAdd { kind: TargetKind::Sink, proto: Proto::Tcp, addr, port: 9, on_crash: OnCrash::Pass };
    let filter = file::Filter {
        file: "/etc/octroi/sink.rl".into(),
        include: Vec::new(),
        key_file: None,
        name: None,
        allow_slow: false,
        scope: Scope::Steered,
        pass: Vec::new(),
        force: false,
    };
    assert_eq!(settings.targets, [settings::Target { add, filter: Some(filter) }]);
    let rule = Rule {
        who: Who::Uid(1000),
        protocols: vec![tuple::Proto::Udp, tuple::Proto::Sctp],
        ports: Ports::In(vec![53..=53, 8000..=8999]),
        addresses: Addresses::In(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]),
        max_tuples: 5,
        max_bytes: 7 << 20,
        l2: Permission::Granted,
        unbound: Permission::Granted,
        weight: Weight::new(3).unwrap(),
    };
    let plain = Rule {
        who: Who::Gid(100),
        protocols: vec![tuple::Proto::Tcp, tuple::Proto::Udp],
        ports: Ports::Unprivileged,
        addresses: Addresses::All,
        max_tuples: 64,
        max_bytes: 64 << 20,
        l2: Permission::Denied,
        unbound: Permission::Denied,
        weight: Weight::ONE,
    };
    assert_eq!(settings.stack, settings::Stack { grace: Duration::from_secs(3), rules: vec![rule, plain] });
}

#[test]
fn a_layout_may_be_named() {
    let text = "engine = { layout = \"pipeline\", cores = [0, 1, 1] }\n[[interface]]\nname = \"eth7\"\n";
    let engine = read(text).unwrap().engine;
    assert_eq!((engine.layout, engine.cores), (Layout::Pipeline, vec![0, 1, 1]));
}

#[test]
fn the_command_line_names_the_one_interface() {
    let overrides = Overrides { instance: Some("demo".parse().unwrap()), iface: Some("veth9".to_owned()) };
    let with = |text| parse(&Source { path: Path::new("octroid.toml"), text }, &overrides);
    for text in
        ["", "instance = \"main\"", "[[interface]]\nname = \"veth1\"", "[[interface]]\nmode = \"native\""]
    {
        let settings = with(text).unwrap();
        assert_eq!((settings.instance.as_str(), settings.interfaces[0].name()), ("demo", "veth9"));
    }
    let error = with("[[interface]]\nname = \"a\"\n[[interface]]\nname = \"b\"").unwrap_err();
    assert_eq!((error.key(), error.line()), ("interface", Some(1)));
}

/// One mistake each; `{I}` is a legal interface, so that the mistake is the only one.
const MISTAKES: &[&str] = &[
    "",
    "instance = \"a/b\"\n{I}",
    "instance = 7\n{I}",
    "instance \"main\"",
    "instence = \"main\"\n{I}",
    "[engine]\nlayout = \"star\"\n{I}",
    "engine = { cores = [] }\n{I}",
    "engine = { layout = \"pipeline\", cores = [0, 1] }\n{I}",
    "engine = { cores = [-1] }\n{I}",
    "engine = { cores = [0], batch = 0 }\n{I}",
    "engine = { backlog = 100000 }\n{I}",
    "engine = { idle = \"lazy\" }\n{I}",
    "[[interface]]\nmode = \"native\"",
    "[[interface]]\nname = \"a-name-that-is-too-long\"",
    "[[interface]]\nname = \"a/b\"",
    "{I}mode = \"nativ\"",
    "{I}copy = true",
    "{I}queues = 0",
    "{I}queues = \"most\"",
    "{I}queues = 257",
    "{I}vlan = [1, 2, 3]",
    "{I}vlan = [100, 4095]",
    "{I}transit = \"yes\"",
    "{I}umem = { chunk = 1024 }",
    "{I}umem = { frames = 1024 }",
    "{I}umem = { headroom = 20 }",
    "{I}umem = { chunks = 2048 }",
    "{I}rings = 1000",
    "{I}busy_poll = { timeout_us = 20 }",
    "{I}[[interface]]\nname = \"veth1\"",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"",
    "{I}[[target]]\nkind = \"mirror\"\nproto = \"udp\"\nport = 7",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"icmp\"\nport = 7",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\naddr = \"host\"\nport = 7",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\naddr = \"224.0.0.1\"\nport = 7",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\nport = 0",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\nport = 70000",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\nport = 7\n[[target]]\nkind = \"sink\"\nproto = \"udp\"\naddr = \"192.0.2.1\"\nport = 7",
    "{I}filter = { name = \"f\" }",
    "{I}filter = { file = \"f.rl\", scope = \"all\" }",
    "{I}filter = { file = \"f.rl\", pass = [70000] }",
    "{I}[[target]]\nkind = \"echo\"\nproto = \"udp\"\nport = 7\nfilter = { file = \"f.rl\", pass = [1] }",
    "{I}[stack]\ngrace_s = 3601",
    "{I}[[stack.policy]]\nmax_tuples = 1",
    "{I}[[stack.policy]]\nuid = 1\ngid = 1",
    "{I}[[stack.policy]]\nuid = 1\nports = [80, \"90-80\"]",
    "{I}[[stack.policy]]\nuid = 1\naddresses = [\"any\"]",
    "{I}[[stack.policy]]\nuid = 1\nprotocols = [\"icmp\"]",
    "{I}[[stack.policy]]\nuid = 1\nweight = 17",
    "metrics = { listen = \"0.0.0.0:9400\" }\n{I}",
    "metrics = { listen = \"unix:metrics.sock\" }\n{I}",
    "engine = { layout = \"pipeline\", cores = [0, 1, 2] }\n{I}[[stack.policy]]\nuid = 1",
];

#[test]
fn mistakes_say_file_line_key_and_what_was_expected() {
    let mut shown = String::new();
    for case in MISTAKES {
        let text = case.replace("{I}", "[[interface]]\nname = \"veth1\"\n");
        let mistake = read(&text).expect_err(&text);
        writeln!(shown, "{mistake}\n").unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_file_that_is_not_there() {
    let error = load(Path::new("/nonexistent/octroid.toml"), &Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/octroid.toml: No such file or directory (os error 2)");
}

#[test]
fn every_example_is_legal() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") && !path.ends_with("Cargo.toml") {
            load(&path, &Overrides::default()).unwrap_or_else(|mistake| panic!("{mistake}"));
            seen.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["echo", "metrics", "octroid", "pipeline", "shared-address", "stacks", "two-queues"]);
}

#[test]
fn the_reference_example_has_every_key_at_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/octroid.toml");
    let text = fs::read_to_string(path).unwrap();
    // Keys are shown commented out: with the comment signs of `# key = value` lines gone, the file is legal too.
    let keys_shown: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    let (as_shipped, shown) = (read(&text).unwrap(), read(&keys_shown).unwrap());
    assert_eq!(shown.interfaces, as_shipped.interfaces, "what is shown is the default");
    assert_eq!(shown.engine, as_shipped.engine, "what is shown is the default");
    assert_eq!(shown.stack, as_shipped.stack, "what is shown is the default");
    let keys = include_str!("file.rs").lines().filter_map(|line| line.trim().strip_prefix("/// `"));
    let keys = keys.filter(|line| !line.starts_with('"'));
    for key in keys.filter_map(|line| line.split_once("`:")).map(|(key, _)| key) {
        let key = key.trim_matches(['[', ']']);
        // A key's own line, a table's header, or a key of an inline table.
        let forms = [format!("{key} = "), format!("[{key}]")];
        assert!(forms.iter().any(|form| keys_shown.contains(form)), "{key} is not in examples/octroid.toml");
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in "(?s).{0,200}") {
        let _ = read(&text).map_err(|mistake| mistake.to_string());
    }

    #[test]
    fn a_changed_byte_is_judged(at in any::<prop::sample::Index>(), with in any::<char>()) {
        let mut chars: Vec<char> = include_str!("../../../../examples/echo.toml").chars().collect();
        let at = at.index(chars.len());
        chars[at] = with;
        let _ = read(&chars.into_iter().collect::<String>()).map_err(|mistake| mistake.to_string());
    }
}

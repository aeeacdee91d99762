//! What a machine must have for what is about to be done, and the Debian packages that bring it.

use std::path::Path;
use std::process::Command;

use crate::child;
use crate::toolchain::program;

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Compile everything.
    Build,
    /// Compile and move packets between network namespaces.
    Run,
    /// Run the tests, in which programs that everybody knows talk to ours.
    Test,
    /// Compare with other people's servers and clients, in demos and benches.
    Peers,
}

/// Something a machine must have.
pub(super) struct Need {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    stage: Stage,
    /// Debian packages that bring it.
    pub(super) packages: &'static [&'static str],
    present: fn() -> bool,
}

impl Need {
    /// What `stage` needs.
    pub(super) fn of(stage: Stage) -> impl Iterator<Item = &'static Self> {
        NEEDS.iter().filter(move |need| need.stage <= stage)
    }

    /// Whether it is there.
    pub(super) fn is_met(&self) -> bool {
        (self.present)()
    }
}

const NEEDS: &[Need] = &[
    Need {
        name: "a C compiler",
        why: "libbpf and libxdp are C",
        stage: Stage::Build,
        packages: &["gcc", "libc6-dev"],
        present: || program("cc").is_some(),
    },
    Need {
        name: "make, m4, pkg-config",
        why: "the build scripts of libbpf and libxdp call them",
        stage: Stage::Build,
        packages: &["make", "m4", "pkg-config"],
        present: || ["make", "m4", "pkg-config"].iter().all(|name| program(name).is_some()),
    },
    Need {
        name: "clang-19",
        why: "libxdp compiles a BPF program of its own while it builds",
        stage: Stage::Build,
        packages: &["clang-19"],
        present: || program("clang-19").is_some(),
    },
    Need {
        name: "headers for BPF C (asm/types.h)",
        why: "clang's BPF target has no system directory of its own",
        stage: Stage::Build,
        packages: &["gcc-multilib"],
        present: || Path::new("/usr/include/asm/types.h").exists(),
    },
    Need {
        name: "libelf and zlib with their headers",
        why: "libbpf reads ELF files",
        stage: Stage::Build,
        packages: &["libelf-dev", "zlib1g-dev"],
        present: || library("libelf") && library("zlib"),
    },
    Need {
        name: "ip",
        why: "the demo and the tests make network namespaces and veth pairs",
        stage: Stage::Run,
        packages: &["iproute2"],
        present: || program("ip").is_some(),
    },
    Need {
        name: "ethtool",
        why: "offloads that hide bytes from XDP are switched off with it",
        stage: Stage::Run,
        packages: &["ethtool"],
        present: || program("ethtool").is_some(),
    },
    Need {
        name: "curl",
        why: "the tests fetch objects from our HTTP server with it",
        stage: Stage::Test,
        packages: &["curl"],
        present: || program("curl").is_some(),
    },
    Need {
        name: "dig",
        why: "the tests ask our DNS responder with it",
        stage: Stage::Test,
        packages: &["bind9-dnsutils"],
        present: || program("dig").is_some(),
    },
    Need {
        name: "valgrind",
        why: "the tests misuse the C interface, and it sees what that touches",
        stage: Stage::Test,
        packages: &["valgrind"],
        present: || program("valgrind").is_some(),
    },
    Need {
        name: "nginx",
        why: "an OS server that shares an address with our stacks, and that they are compared with",
        stage: Stage::Peers,
        packages: &[NGINX],
        present: || program("nginx").is_some() || Path::new("/usr/sbin/nginx").exists(),
    },
    Need {
        name: "wrk",
        why: "the load of HTTP demos and benches",
        stage: Stage::Peers,
        packages: &["wrk"],
        present: || program("wrk").is_some(),
    },
    Need {
        name: "tshark",
        why: "a second opinion on captures",
        stage: Stage::Peers,
        packages: &["tshark"],
        present: || program("tshark").is_some(),
    },
    Need {
        name: "PCRE2 with its headers",
        why: "Ruler is compared with it; the same holds for the next four",
        stage: Stage::Peers,
        packages: &["libpcre2-dev"],
        present: || library("libpcre2-8"),
    },
    Need {
        name: "Hyperscan with its headers",
        why: "it is ahead of everybody on literals",
        stage: Stage::Peers,
        packages: &["libhyperscan-dev"],
        present: || library("libhs"),
    },
    Need {
        name: "RE2 with its headers",
        why: "automata made while they run",
        stage: Stage::Peers,
        packages: &["libre2-dev"],
        present: || library("re2"),
    },
    Need {
        name: "a C++ compiler",
        why: "RE2 is C++",
        stage: Stage::Peers,
        packages: &["g++"],
        present: || program("c++").is_some(),
    },
    Need {
        name: "re2c",
        why: "automata as C, with tags",
        stage: Stage::Peers,
        packages: &["re2c"],
        present: || program("re2c").is_some(),
    },
];

/// Whether pkg-config knows a library, which it does from the headers' package.
fn library(name: &str) -> bool {
    child::output(Command::new("pkg-config").args(["--exists", name])).is_ok()
}

/// The one package here that brings a service.
pub(super) const NGINX: &str = "nginx";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_for_what_only_a_later_stage_needs() {
        let names = |stage| Need::of(stage).map(|need| need.name).collect::<Vec<_>>();
        assert!(!names(Stage::Build).contains(&"ethtool"));
        assert!(names(Stage::Run).contains(&"ethtool") && names(Stage::Run).contains(&"clang-19"));
        assert!(!names(Stage::Run).contains(&"curl") && names(Stage::Test).contains(&"curl"));
        assert!(!names(Stage::Test).contains(&"nginx") && names(Stage::Peers).contains(&"dig"));
        assert_eq!(names(Stage::Peers).len(), NEEDS.len());
    }
}

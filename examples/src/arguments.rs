//! What every example takes on its command line.
use std::{fmt, path::PathBuf, str::FromStr};

use clap::Args;
use client::control::request::LocalAddr;

/// Where the daemon is, and which packets are wanted.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = "/run/octroi/main/control.sock")]
    pub control: PathBuf,
    /// What to serve; ADDR is a local address (IPv6 in brackets) or `any`, port 0 lets the daemon choose one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Listen,
}

/// A local address, or any, and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub addr: LocalAddr,
    /// The port.
    pub port: u16,
}

/// Not `ADDR:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotListen;

impl fmt::Display for NotListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected ADDR:PORT, as in any:53, 192.0.2.1:8080 or [2001:db8::1]:8080")
    }
}

impl std::error::Error for NotListen {}

impl FromStr for Listen {
    type Err = NotListen;

    fn from_str(text: &str) -> Result<Self, NotListen> {
        let (addr, port) = text.rsplit_once(':').ok_or(NotListen)?;
        let bare = addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        // An address with colons needs its brackets: `::1:53` is an address, too.
        let addr = match bare {
            Some(v6) => LocalAddr::Ip(v6.parse().map_err(|_| NotListen)?),
            None if addr.contains(':') => return Err(NotListen),
            None => addr.parse().map_err(|_| NotListen)?,
        };
        Ok(Self { addr, port: port.parse().map_err(|_| NotListen)? })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            LocalAddr::Ip(std::net::IpAddr::V6(addr)) => write!(f, "[{addr}]:{}", self.port),
            addr => write!(f, "{addr}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_it_is_shown() {
        for text in ["any:53", "192.0.2.1:0", "[2001:db8::1]:8080"] {
            assert_eq!(text.parse::<Listen>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "53", "any", "any:", "any:65536", "::1:53", "[192.0.2.1:53", "host:53", "[any]:5"] {
            assert_eq!(text.parse::<Listen>(), Err(NotListen), "{text}");
        }
    }
}

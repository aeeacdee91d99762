//! What the verbs ask for in the same words: the traffic, the wire, the end.
//!
//! These are texts as a user types them; what is made of them is a `Profile`, an `Interface` and a `Job`.
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use octroi_bench::{
    engine::{
        ceiling::{Ceiling, Engine},
        clock,
        drive::{Idle, Job, MAX_DURATION_NS},
        interface::Interface,
    },
    report::Form,
    traffic::{
        book::Book,
        pace::{Pace, Rate},
        plan::Plan,
        profile::{Mac, Order, Profile, Transport, parse_mac},
        reader::Reader,
        size::Mix,
        span::{AddrSpan, PortSpan},
    },
};

/// What frames look like.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Traffic")]
pub(crate) struct Traffic {
    /// Bytes of a frame with its FCS, 64 to 1518, or "imix" (28 × 64, 16 × 570, 4 × 1518).
    #[arg(long, default_value = "64")]
    size: Mix,
    /// How many flows the ranges below are cut into; destination ports differ first.
    #[arg(long, default_value_t = 1)]
    flows: u32,
    /// In which order flows take turns.
    #[arg(long, default_value = "round-robin")]
    order: OrderName,
    /// Same seed, same bytes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Destination Ethernet address; needed to send by an interface.
    #[arg(long, value_parser = parse_mac)]
    dst_mac: Option<Mac>,
    /// Source Ethernet address; the interface's own if not given.
    #[arg(long, value_parser = parse_mac)]
    src_mac: Option<Mac>,
    /// Destination addresses: one, first-last, or a prefix.
    #[arg(long, default_value = "198.19.0.1")]
    dst: AddrSpan,
    /// Source addresses, likewise.
    #[arg(long, default_value = "198.18.0.1")]
    src: AddrSpan,
    /// Destination ports: one, or first-last.
    #[arg(long, default_value = "9")]
    dport: PortSpan,
    /// Source ports, likewise.
    #[arg(long, default_value = "49152-65535")]
    sport: PortSpan,
    /// What carries the payload.
    #[arg(long, default_value = "udp")]
    proto: Proto,
    /// A VLAN id; twice for two tags, the outer one first.
    #[arg(long)]
    vlan: Vec<u16>,
}

/// Where frames go.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Wire")]
pub(crate) struct Wire {
    /// The interface.
    #[arg(long)]
    iface: Option<String>,
    /// The network namespace it is in, as `ip netns list` shows it.
    #[arg(long)]
    netns: Option<String>,
    /// Run on this core only.
    #[arg(long)]
    core: Option<usize>,
    /// Look again and again instead of sleeping: shorter latencies, a whole core.
    #[arg(long)]
    spin: bool,
}

/// When it ends, and how it is said.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "End and report")]
pub(crate) struct End {
    /// End after so many frames.
    #[arg(long)]
    count: Option<u64>,
    /// End after this time: 500ms, 10s, 2m.
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: u64,
    /// Wait so long for frames under way.
    #[arg(long, default_value = "500ms", value_parser = duration)]
    linger: u64,
    /// The generator's ceiling in frames a second, as `octroi-pktgen ceiling` says it: results above 80 % of it are
    /// marked.
    #[arg(long)]
    ceiling: Option<f64>,
    /// Report as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrderName {
    /// 0, 1, 2, …
    RoundRobin,
    /// By a stride that depends on the seed.
    Scattered,
}

#[derive(Clone, Copy, ValueEnum)]
enum Proto {
    Udp,
    Tcp,
}

/// How frames are sent, as a user says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    /// Made inside the kernel: the fastest.
    Xdp,
    /// AF_XDP.
    Xsk,
    /// A wire of nothing but memory, no privilege.
    Memory,
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Xdp => Self::Xdp,
            EngineName::Xsk => Self::Xsk,
            EngineName::Memory => Self::Memory,
        }
    }
}

impl Traffic {
    /// The plan for a wire of memory, or for receiving: who sends it does not matter.
    pub(crate) fn plan(&self) -> Result<Plan> {
        self.plan_from(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
    }

    /// The plan for an interface.
    pub(crate) fn plan_for(&self, interface: &Interface) -> Result<Plan> {
        let Some(to) = self.dst_mac else {
            bail!(
                "--dst-mac is needed to send by an interface: `ip link` shows it in the other end's namespace"
            );
        };
        self.plan_from(interface.mac(), to)
    }

    fn plan_from(&self, from: Mac, to: Mac) -> Result<Plan> {
        let profile = Profile {
            src_mac: self.src_mac.unwrap_or(from),
            dst_mac: self.dst_mac.unwrap_or(to),
            tags: self.vlan.clone(),
            transport: match self.proto {
                Proto::Udp => Transport::Udp,
                Proto::Tcp => Transport::Tcp,
            },
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            flows: self.flows,
            order: match self.order {
                OrderName::RoundRobin => Order::RoundRobin,
                OrderName::Scattered => Order::Scattered,
            },
            mix: self.size,
            seed: self.seed,
        };
        Plan::new(&profile).context("the traffic asked for")
    }
}

/// An empty book for the frames of `plan`.
pub(crate) fn book(plan: &Plan) -> Result<Book> {
    let config = plan.config();
    Book::new(Reader::new(config.shape, config.flows), config.flows).context("the book's histogram")
}

impl Wire {
    /// Enters the namespace and finds the interface. Before any thread is started: both are a thread's own.
    pub(crate) fn interface(&self) -> Result<Interface> {
        let Some(name) = &self.iface else {
            bail!(
                "--iface is needed: the interface to use, with --netns if it is in another network namespace"
            );
        };
        if let Some(netns) = &self.netns {
            clock::enter_netns(netns)?;
        }
        let place = self.netns.as_deref().map_or_else(String::new, |n| format!(" in network namespace {n}"));
        Interface::open(name).with_context(|| format!("--iface {name}{place}"))
    }

    /// Goes to the core asked for.
    pub(crate) fn settle(&self) -> Result<()> {
        self.core.map_or(Ok(()), clock::pin)
    }

    /// The core asked for.
    pub(crate) const fn core(&self) -> Option<usize> {
        self.core
    }

    const fn idle(&self) -> Idle {
        if self.spin { Idle::Spin } else { Idle::Sleep }
    }
}

impl End {
    /// The job at `rate`.
    pub(crate) fn job(&self, wire: &Wire, rate: Rate) -> Job {
        Job {
            frames: self.count,
            linger_ns: self.linger,
            idle: wire.idle(),
            ..Job::lasting(self.duration, rate)
        }
    }

    /// How many frames of a schedule there are.
    pub(crate) fn frames_within(&self, pace: &Pace) -> u64 {
        self.count.unwrap_or_else(|| pace.planned(self.duration))
    }

    /// How long at most.
    pub(crate) const fn duration_ns(&self) -> u64 {
        self.duration
    }

    /// How to report.
    pub(crate) const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    /// Whether a result is the generator's rather than its own.
    pub(crate) fn generator_limited(&self, rate_pps: f64) -> bool {
        let ceiling = self.ceiling.map(|pps| Ceiling { rate_pps: pps, arrived_pps: pps });
        ceiling.is_some_and(|ceiling| ceiling.limits(rate_pps))
    }
}

/// A time with its unit, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let wanted = || format!("a time from 1ms to 24h such as 500ms, 10s, 2m or 1h, not {text:?}");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wanted)?;
    let (number, unit) = text.split_at(split);
    let ns = match unit {
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return Err(wanted()),
    };
    let ns = number.trim().parse::<f64>().map_err(|_| wanted())? * ns;
    if (1e6..=MAX_DURATION_NS as f64).contains(&ns) { Ok(ns as u64) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_have_a_limit() {
        assert_eq!(duration("500ms"), Ok(500_000_000));
        assert_eq!(duration("1.5s"), Ok(1_500_000_000));
        assert_eq!(duration("24h"), Ok(MAX_DURATION_NS));
        for bad in ["10", "s", "-1s", "25h", "0.1ms", "1d", "nans"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}

//! The generator on the real kernel: the same plan gives the same bytes, and what leaves arrives once, in order.
//!
//! Never more frames are under way than half of the smallest ring holds, so "0 lost" can be asserted.
use abi::pktgen::{Cursor, TIME_SHIFT};
use anyhow::{Context as _, Result, ensure};
use octroi_bench::{
    engine::{
        Inlet, Outlet,
        clock::{Clock, Monotonic},
        drive::Job,
        interface::{Collector, Interface, XskEngine},
        live::LiveSender,
    },
    traffic::{
        book::{Book, Outcome},
        pace::Rate,
        plan::Plan,
        profile::{Mac, Order, Profile, Transport},
        reader::Reader,
        span::PortSpan,
    },
};
use octroi_tests::lab::{self, End, Need, Pair, PairOptions, Ping, until};
use xsk::bpf::Generator;

/// Frames under way: half of a veth's own ring.
const WINDOW: u64 = 128;
/// All that sending and collecting needs.
const NEEDS: &[Need] = &[Need::Netns, Need::Bpf, Need::AfXdp];

fn profile(v6: bool) -> Result<Profile> {
    let (src, dst) = if v6 { ("fd77::1", "fd77::2") } else { ("10.77.0.1", "10.77.0.2") };
    Ok(Profile {
        src_mac: Mac([2, 0, 0, 0, 0x77, 1]),
        dst_mac: Mac([2, 0, 0, 0, 0x77, 2]),
        tags: vec![],
        transport: Transport::Udp,
        src: src.parse()?,
        dst: dst.parse()?,
        sport: "1024-2047".parse()?,
        dport: PortSpan::one(9),
        flows: 5,
        order: Order::Scattered,
        mix: "128".parse()?,
        seed: 7,
    })
}

#[test]
fn pktgen_the_kernel_makes_the_frames_of_its_twin() -> Result<()> {
    let Some(_lab) = lab::require("pktgen_twin", &[Need::Bpf])? else { return Ok(()) };
    for v6 in [false, true] {
        for tags in [vec![], vec![7], vec![7, 4094]] {
            for transport in [Transport::Udp, Transport::Tcp] {
                twins(&Profile { tags: tags.clone(), transport, ..profile(v6)? })?;
            }
        }
    }
    for size in ["64", "1518", "imix"] {
        twins(&Profile { mix: size.parse()?, ..profile(false)? })?;
    }
    Ok(())
}

fn twins(profile: &Profile) -> Result<()> {
    let mut plan = Plan::new(profile)?;
    // Not whole nanoseconds, and a start whose 48 bits wrap on the way.
    plan.set_interval((1000 << TIME_SHIFT) + 4321);
    let mut cursor = Cursor::starting((1 << 48) - 20_000);
    let mut generator = Generator::load(plan.config(), plan.flows())?;
    generator.set_cursor(&cursor)?;
    let mut frame = vec![0; plan.longest()];
    for n in 0..60 {
        let len = plan.next(&mut cursor, 0, &mut frame);
        let made = generator.make(&plan.template())?.bytes;
        ensure!(made == frame[..len], "frame {n} of {profile:?}\n  {made:02x?}\n  {:02x?}", &frame[..len]);
    }
    ensure!(generator.cursor()? == cursor);
    Ok(())
}

/// Does `work` with a sender's interface and, in the other namespace, a receiver.
fn joined(plan: &Plan, work: impl FnOnce(&Interface, &mut Receiver) -> Result<()> + Send) -> Result<()> {
    let pair = Pair::new(PairOptions::default())?;
    let mut receiver = Receiver::open(&pair.served, plan)?;
    pair.peer.netns.enter(|| {
        let interface = Interface::open(&pair.peer.ifname)?;
        ensure!(interface.mac() == Mac(pair.peer.mac.0) && interface.index() == pair.peer.ifindex()?);
        work(&interface, &mut receiver)
    })??;
    // The program that picks our frames out leaves all others to the kernel.
    Ping::open(&pair.peer.netns, pair.served.v4.into())?.once().context("a ping beside the collector")
}

struct Receiver {
    collector: Collector,
    book: Book,
}

impl Receiver {
    fn open(end: &End, plan: &Plan) -> Result<Self> {
        let (shape, flows) = (plan.config().shape, plan.config().flows);
        let collector = end.netns.enter(|| Collector::open(&Interface::open(&end.ifname)?, plan))??;
        Ok(Self { collector, book: Book::new(Reader::new(shape, flows), flows)? })
    }

    fn collect_until(&mut self, received: u64) -> Result<()> {
        until("all frames arrived", || {
            self.collector.collect(&Monotonic, &mut |frame, now_ns| _ = self.book.enter(frame, now_ns))?;
            Ok(received <= self.book.tally().received)
        })
    }

    fn check(&self, sent: u64) -> Result<()> {
        let Outcome { tally, lost, .. } = self.book.outcome(Some(sent));
        ensure!(
            tally.in_order == sent && tally.received == sent && tally.foreign == 0 && lost == 0,
            "{tally:?}"
        );
        ensure!(self.collector.losses() == 0);
        Ok(())
    }
}

#[test]
fn pktgen_live_frames_arrive_once_and_in_order() -> Result<()> {
    let Some(_lab) = lab::require("pktgen_live", NEEDS)? else { return Ok(()) };
    let plan = Plan::new(&Profile { mix: "imix".parse()?, ..profile(false)? })?;
    joined(&plan, |interface, receiver| {
        let mut sender = LiveSender::open(interface, &plan)?;
        // As fast as it goes, by the kernel's schedule, and one by one.
        for (runs, rate) in [(1, Rate::UNLIMITED), (2, Rate::new(1e6)?), (3, Rate::new(10_000.0)?)] {
            let job = Job { frames: Some(WINDOW), ..Job::lasting(10_000_000_000, rate) };
            let sent = sender.send(&job, &Monotonic, &mut |_| {})?;
            ensure!(sent.sent == WINDOW, "{sent:?}");
            receiver.collect_until(WINDOW)?;
            receiver.check(WINDOW).with_context(|| format!("run {runs}"))?;
            let flows = plan.config().flows;
            receiver.book = Book::new(Reader::new(plan.config().shape, flows), flows)?;
        }
        Ok(())
    })
}

#[test]
fn pktgen_af_xdp_frames_arrive_once_and_in_order() -> Result<()> {
    let Some(_lab) = lab::require("pktgen_xsk", NEEDS)? else { return Ok(()) };
    let plan = Plan::new(&Profile { tags: vec![5], transport: Transport::Tcp, ..profile(true)? })?;
    joined(&plan, |interface, receiver| {
        let mut sender = XskEngine::sending(interface, plan.clone())?;
        sender.restart(Monotonic.now_ns(), 0);
        let (mut sent, total) = (0, 40 * WINDOW);
        while sent < total {
            let free = (WINDOW + receiver.book.tally().received - sent).min(total - sent);
            sent += sender.offer(free, Monotonic.now_ns())?.frames;
            receiver.collect_until(sent.saturating_sub(WINDOW / 2))?;
        }
        receiver.collect_until(total)?;
        receiver.check(total)
    })
}

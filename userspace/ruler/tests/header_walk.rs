//! Walkers say what their DAG says: of every packet, cut anywhere, from the root and from every node on its way.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod made;
mod scale;

use made::Dice;
use ruler::{
    bundle::Bundle,
    dag::{Dag, Limits, Node, NodeId, Walker},
    resolved::Filter,
    shipped,
};

/// How many filters a property looks at.
fn cases() -> u64 {
    u64::from(scale::RT05_FILTERS.count())
}

/// Random rules share few tests, so that their DAGs are as large as they may be.
const SMALL: Limits = Limits { nodes: 4_000, entries: 1 << 16 };

/// The nodes that a packet comes to, test by test.
fn way(dag: &Dag, packet: &[u8]) -> Vec<NodeId> {
    let (mut way, mut base) = (vec![NodeId::ROOT], 0);
    loop {
        let at = *way.last().unwrap();
        way.push(match dag.node(at) {
            Node::Len { bytes, yes, no } => match base + usize::try_from(*bytes).unwrap() <= packet.len() {
                true => *yes,
                false => *no,
            },
            Node::Probe(probe) => probe.to(probe.place.read(packet, base).unwrap()),
            Node::Base { advance, to } => {
                base += advance.distance(packet, base).unwrap();
                *to
            }
            Node::Leaf(_) => return way,
        });
    }
}

/// Compares every cut of a packet; says how many leaves it came to.
#[track_caller]
fn agree(dag: &Dag, walker: &Walker, packet: &[u8]) -> usize {
    let mut leaves = Vec::new();
    for length in 0..=packet.len() {
        let packet = &packet[..length];
        let want = dag.eval(packet);
        assert_eq!(walker.eval(packet), want, "{packet:x?}\n{}", dag.text());
        let way = way(dag, packet);
        assert_eq!(way.last(), Some(&want.leaf));
        for node in way {
            let from = walker.eval_from(dag, node, packet);
            assert_eq!(from, Some(want), "from {}: {packet:x?}\n{}", node.0, dag.text());
        }
        leaves.push(want.leaf);
    }
    leaves.sort_unstable();
    leaves.dedup();
    leaves.len()
}

#[test]
fn rt05_a_walker_says_what_the_dag_of_any_rules_says() {
    let mut leaves = 0;
    for seed in 0..cases() {
        let mut dice = Dice::of(seed);
        let filter = made::filter(&mut dice);
        let dag = Dag::build(&filter, &SMALL);
        let walker = Walker::new(&dag);
        let mut packet = Vec::new();
        for _ in 0..6 {
            packet = made::packet(&mut dice, &filter);
            leaves += agree(&dag, &walker, &packet);
        }
        // Where the packet never comes anything may be said, but something is.
        for (node, _) in dag.nodes() {
            std::hint::black_box(walker.eval_from(&dag, node, &packet));
        }
    }
    assert!(6 * usize::try_from(cases()).unwrap() < leaves, "cuts came to {leaves} leaves only");
}

/// Filters that look at headers as people write them: the shipped ones, many flows, and what is neither one value nor one
/// byte order.
fn programs() -> Vec<String> {
    let flow = |n: u32| {
        let (src, sport, dport) = (n * 7 % 256, 20_000 + n, 53 + n % 3);
        format!(
            "Ethernet_IPv4 IPv4_UDP with [src=10.1.0.{src}, dst=10.77.0.2] UDP with [sport={sport}~2, dport={dport}~2] * => reject 1;\n"
        )
    };
    let flows = (0..40).map(flow).collect::<String>();
    // Sources with several ports, and packets of others that are looked at again.
    let shared = |n: u32| {
        let (src, dport) = (n / 3, 53 + n % 3);
        format!("Ethernet_IPv4 IPv4_UDP with [src=10.1.0.{src}] UDP with [dport={dport}~2] * => reject 1;\n")
    };
    let shared = (0..40).map(shared).collect::<String>();
    let others = "Ethernet_IPv4 IPv4_UDP with [dst=10.77.0.2] UDP with [dport=100..200~2] * => reject 2;\n";
    // One value, few, ranges of each width, all but some; of both byte orders, and where no eight bytes are before them.
    let fields = "5 0x100..0x2fff~2 1|3|9 !(7|9) 0x100..0x2fff~2le 17~3le 0x80/0x80 => reject 1;\n  \
                  (1..3|40..90|100..220) (0x100~2|0x4000..0x5fff~2) * => reject 2;\n  \
                  byte#14 (0x100..0x20000~4le|1~4le) !(0..9|0x80/0x80) * => reject 3;\n";
    [
        format!("include \"layouts.rli\"\nfilter flows\n{flows}  * => accept;\n"),
        format!("include \"layouts.rli\"\nfilter shared\n{shared}{others}  * => accept;\n"),
        format!("filter fields\n{fields}  * => accept;\n"),
    ]
    .into_iter()
    .chain(shipped::ALL.iter().map(|shipped| shipped.source.to_owned()))
    .collect()
}

#[test]
fn rt05_a_walker_says_what_the_dag_of_a_filter_says() {
    for (number, program) in (0..).zip(programs()) {
        let (filters, found) = ruler::resolve(&Bundle::new("a.rl", program));
        let filter: &Filter = filters.first().unwrap_or_else(|| panic!("{found:?}"));
        let dag = Dag::build(filter, &Limits::default());
        let walker = Walker::new(&dag);
        let mut dice = Dice::of(number);
        let mut leaves = 0;
        for _ in 0..cases() / 5 {
            let mut packet = made::packet(&mut dice, filter);
            packet.truncate(128);
            leaves += agree(&dag, &walker, &packet);
        }
        assert!(cases() / 5 < u64::try_from(leaves).unwrap(), "{}: {leaves} leaves", filter.name);
    }
}

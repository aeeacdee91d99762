//! Tables at their limits, with tuples that chance chose and with tuples that somebody chose to meet in one place.
//!
//! A lookup costs what it compares, and where it looks. The first is counted, by keys that count; the second follows
//! from the hash: how many keys of a full table are at home in one group of slots, as hashbrown scans them.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]
#[path = "../../../tests/src/corpus/rng.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod rng;
#[path = "../../../tests/src/scale.rs"]
#[allow(dead_code, unreachable_pub, reason = "this test uses its part of a shared file")]
mod scale;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use abi::shm::desc::Form;
use abi::shm::layout::{Shape, SlotSize, Slots};
use abi::steer::SteerKey;
use multistack::hash::Seeded;
use multistack::mirror::{Generation, Mirror, Owned, Recent};
use multistack::policy::{Credentials, Kernel};
use multistack::refusal::{Refusal, Resource};
use multistack::registry::{
    IcmpErrors, Lease, Limits, MAX_TUPLES, Name, OnCrash, Open, Registry, Reserve, SESSION_TUPLES, SessionId,
    Want,
};
use multistack::tuple::{Address, Proto};

use rng::Rng;
use scale::{B10_TUPLES, Seed};

/// The seed of the tables under test: whoever attacks knows another, and the function.
const SEED: u64 = 0x0bad_5eed;
/// Slots that hashbrown compares at once.
const GROUP: usize = 16;

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often it is compared. It is hashed as the mirror hashes its own.
#[derive(Clone, Copy, Debug, Eq)]
struct Counted(SteerKey);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.set(COMPARED.get() + 1);
        self.0 == other.0
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let SteerKey { addr, port: [high, low], proto, zero } = self.0;
        hasher.write_u128(u128::from_ne_bytes(addr));
        hasher.write_u64(u64::from(u32::from_ne_bytes([high, low, proto, zero])));
    }
}

/// What lookups cost in a table of these keys.
#[derive(Debug)]
struct Cost {
    /// Comparisons in a thousand lookups of keys that are there.
    hit: u64,
    /// Comparisons in a thousand lookups of keys that are not.
    miss: u64,
    /// The mean, in thousandths, over all keys, of how many are at home in the same group of slots.
    crowd: u64,
}

fn cost(keys: &[SteerKey], absent: &[SteerKey]) -> Cost {
    let mut table = HashMap::with_hasher(Seeded::new(SEED));
    table.extend(keys.iter().map(|&key| (Counted(key), ())));
    assert_eq!(table.len(), keys.len(), "keys are distinct");
    let compared = |lookups: &[SteerKey]| {
        COMPARED.set(0);
        lookups.iter().for_each(|&key| _ = table.get(&Counted(key)));
        COMPARED.get() * 1000 / lookups.len() as u64
    };
    let (hit, miss) = (compared(keys), compared(absent));
    let groups = (keys.len() * 8 / 7).next_power_of_two() / GROUP;
    let mut load = vec![0_u64; groups];
    let home = |key: &SteerKey| Seeded::new(SEED).hash_one(Counted(*key)) as usize / GROUP % groups;
    keys.iter().for_each(|key| load[home(key)] += 1);
    let crowd = load.iter().map(|n| n * n).sum::<u64>() * 1000 / keys.len() as u64;
    Cost { hit, miss, crowd }
}

/// Keys that nobody chose.
fn ordinary(rng: &mut Rng, count: usize) -> Vec<SteerKey> {
    let key = |rng: &mut Rng| {
        let (proto, port) = (*rng.pick(&[6, 17]), rng.next_u64() as u16);
        match rng.below(2) {
            0 => SteerKey::v4(proto, (rng.next_u64() as u32).to_be_bytes(), port),
            _ => SteerKey::v6(proto, (u128::from(rng.next_u64()) << 64 | 1).to_be_bytes(), port),
        }
    };
    let mut seen = HashSet::new();
    std::iter::repeat_with(|| key(rng)).filter(|key| seen.insert(*key)).take(count).collect()
}

/// Ways to choose keys; each yields as many as are asked for, all distinct.
type Choice = fn(usize) -> Vec<SteerKey>;

/// Every port of as many addresses as it takes.
fn all_ports(count: usize) -> Vec<SteerKey> {
    let key = |n: usize| SteerKey::v4(17, [10, 0, 0, (n >> 16) as u8], n as u16);
    (0..count).map(key).collect()
}

/// One port at neighbouring addresses.
fn neighbours(count: usize) -> Vec<SteerKey> {
    (0..count).map(|n| SteerKey::v6(6, (0x2001_0db8_u128 << 96 | n as u128).to_be_bytes(), 443)).collect()
}

/// Keys whose two halves cancel out for whoever adds them up, as the shards' function does.
fn cancelling(count: usize) -> Vec<SteerKey> {
    let key = |n: usize| {
        let half = u128::from((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        SteerKey::v6(17, (half << 64 | half).to_be_bytes(), 53)
    };
    (0..count).map(key).collect()
}

/// Keys that collide in their lowest eight bits under a seed that is not the table's: the best whoever does not know it can
/// do.
fn colliding_elsewhere(count: usize) -> Vec<SteerKey> {
    let hasher = Seeded::new(0);
    let keys = (0..u32::MAX).map(|n| SteerKey::v4(6, [10, (n >> 24) as u8, (n >> 16) as u8, 1], n as u16));
    keys.filter(|&key| hasher.hash_one(Counted(key)) & 0xff == 0).take(count).collect()
}

#[test]
fn b10_chosen_keys_cost_at_most_twice_what_chance_does() {
    let count = B10_TUPLES.count() as usize;
    let mut rng = Rng::new(Seed::get());
    let all = ordinary(&mut rng, 2 * count);
    let (keys, absent) = all.split_at(count);
    let base = cost(keys, absent);
    assert!(base.hit < 1100 && base.miss < 200, "{base:?}: the measure itself");
    let choices: [(&str, Choice); 4] = [
        ("all ports", all_ports),
        ("neighbours", neighbours),
        ("cancelling", cancelling),
        ("colliding under another seed", colliding_elsewhere),
    ];
    for (name, choose) in choices {
        let all = choose(2 * count);
        let (keys, absent) = all.split_at(count);
        let chosen = cost(keys, absent);
        let within = |chosen: u64, base: u64| chosen <= 2 * base.max(100);
        assert!(
            within(chosen.hit, base.hit)
                && within(chosen.miss, base.miss)
                && within(chosen.crowd, base.crowd),
            "{name}: {chosen:?}, by chance {base:?}"
        );
    }
}

fn kernel() -> Kernel {
    Kernel {
        unprivileged_port_start: 1024,
        ephemeral: 32_768..=60_999,
        protocols: vec![Proto::Tcp, Proto::Udp],
    }
}

fn nothing<S>(_: &S) -> Result<(), std::convert::Infallible> {
    Ok(())
}

/// A registry with these local addresses and as many sessions of root's.
fn registry(addresses: &[IpAddr], sessions: usize) -> (Registry, Vec<SessionId>) {
    let mut registry = Registry::new(Limits::default()).seeded(SEED);
    registry.set_addresses(addresses).unwrap().carry_out(nothing).unwrap();
    let slots = Slots::new(64).unwrap();
    let shape = Shape::new(1, slots, slots, SlotSize::new(2048).unwrap()).unwrap();
    let sessions = (0..sessions).map(|n| {
        let caller = Credentials { uid: 0, gids: vec![], pid: 1 };
        let (name, lease) = (Name::new("b10").unwrap(), Lease::new(n as u128));
        let open = Open { caller, name, shape, form: Form::L3, lease };
        registry.open(open).unwrap().carry_out(nothing).unwrap()
    });
    let sessions = sessions.collect();
    (registry, sessions)
}

fn want(proto: Proto, addr: Ipv4Addr, port: u16) -> Want {
    Want {
        proto,
        addr: Address::Is(addr.into()),
        port,
        reserve: Reserve::Daemon,
        on_crash: OnCrash::Drop,
        icmp: IcmpErrors::Kept,
    }
}

#[test]
fn b10_a_full_table_refuses_by_name_and_still_answers() {
    // Registering is what a daemon does and costs it a table's part each time: more than the table holds is all there is.
    let address = Ipv4Addr::new(192, 0, 2, 1);
    let other = Ipv4Addr::new(192, 0, 2, 2);
    let count = MAX_TUPLES + 4 * SESSION_TUPLES;
    let (mut registry, sessions) = registry(&[address.into(), other.into()], count / SESSION_TUPLES);
    let tuples = (0..count).map(|n| {
        let addr = if n >> 16 == 0 { address } else { other };
        let proto = if n % 2 == 0 { Proto::Tcp } else { Proto::Udp };
        // Port 0 chooses one; two protocols make up for it.
        (proto, addr, 1 + (n % (1 << 16) / 2) as u16)
    });
    let tuples: Vec<_> = tuples.collect();
    for (n, &(proto, addr, port)) in tuples.iter().enumerate() {
        let session = sessions[n / SESSION_TUPLES];
        match registry.register(session, &want(proto, addr, port), &kernel(), 0) {
            Ok(change) => {
                change.carry_out(nothing).unwrap();
                assert!(n < MAX_TUPLES, "{n} tuples");
            }
            Err(refusal) => {
                let full =
                    Refusal::NoSpace { resource: Resource::Tuples, given: MAX_TUPLES + 1, limit: MAX_TUPLES };
                assert!(MAX_TUPLES <= n && refusal == full, "{n}: {refusal:?}");
            }
        }
    }
    let mirror: Arc<Mirror> = Arc::clone(registry.mirror());
    assert_eq!((mirror.len(), mirror.iter().count()), (MAX_TUPLES, MAX_TUPLES));
    // Whose each is, by the table and by a worker's memory, which has fewer places than there are keys.
    let recent = Recent::default();
    for (n, &(proto, addr, port)) in tuples.iter().enumerate() {
        let key = SteerKey::v4(proto.number(), addr.octets(), port);
        let owner = mirror.owner(&key).map(|owned: Owned| owned.session);
        assert_eq!(owner, (n < MAX_TUPLES).then(|| sessions[n / SESSION_TUPLES]), "{n}");
        let session = sessions[n / SESSION_TUPLES];
        let generation: Generation = 7;
        let known = recent.tuple(generation, &mirror, key, session);
        assert_eq!(known, mirror.owner(&key).map(|owned| owned.tuple), "{n}");
    }
    // One less, and there is room again.
    let first = sessions[0];
    let number = *registry.session(first).unwrap().tuples.keys().next().unwrap();
    registry.release(first, number).unwrap().carry_out(nothing).unwrap();
    let last = *sessions.last().unwrap();
    registry
        .register(last, &want(Proto::Tcp, other, 60_000), &kernel(), 0)
        .unwrap()
        .carry_out(nothing)
        .unwrap();
    assert_eq!(registry.mirror().len(), MAX_TUPLES);
}

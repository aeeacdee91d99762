//! What happens: operations of applications, administrators and the host, at random.
use super::*;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Open {
        uid: u32,
        form: Form,
        channels: u16,
        lease: u128,
    },
    Register {
        app: usize,
        want: Want,
        random: u64,
    },
    Release {
        app: usize,
        tuple: usize,
    },
    /// Root's force, or the attempt of somebody else.
    Force {
        uid: u32,
        app: usize,
        tuple: usize,
    },
    Close {
        app: usize,
    },
    Expel {
        app: usize,
    },
    Addresses(Vec<IpAddr>),
    Reserve {
        by: u32,
        tuple: Tuple,
        uid: u32,
    },
    Unreserve(usize),
    /// The daemon dies; what it cannot bind again, the OS has taken: bit n says so of the n-th.
    Restart {
        taken: u8,
    },
    Attach {
        app: usize,
        uid: Option<u32>,
        channels: u16,
    },
    Later {
        seconds: u64,
    },
}

pub(super) fn address() -> impl Strategy<Value = IpAddr> {
    (0..6u8).prop_map(|n| match n {
        0..4 => IpAddr::from([192, 0, 2, n]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
    })
}

pub(super) fn parts() -> impl Strategy<Value = (Proto, Address, u16)> {
    let addr = prop_oneof![Just(Address::Any), address().prop_map(Address::Is)];
    let proto = prop_oneof![4 => Just(Proto::Udp), 2 => Just(Proto::Tcp), 1 => Just(Proto::Dccp)];
    (proto, addr, 6..=10u16)
}

pub(super) fn want() -> impl Strategy<Value = Want> {
    let cover = prop_oneof![Just(Cover::Whole), Just(Cover::V4), Just(Cover::V6)];
    let reserve = prop_oneof![3 => Just(Reserve::Daemon), 1 => cover.prop_map(Reserve::Lent)];
    let on_crash = prop_oneof![Just(OnCrash::Drop), Just(OnCrash::Pass)];
    let icmp = prop_oneof![Just(IcmpErrors::Kept), Just(IcmpErrors::Delivered)];
    (parts(), prop::bool::weighted(0.1), reserve, on_crash, icmp).prop_map(
        |((proto, addr, port), choose, reserve, on_crash, icmp)| {
            let port = if choose && reserve == Reserve::Daemon { 0 } else { port };
            // A literal address is covered as a whole, or the socket is not fit.
            let reserve = match (addr, reserve) {
                (Address::Is(_), Reserve::Lent(_)) => Reserve::Lent(Cover::Whole),
                (_, reserve) => reserve,
            };
            Want { proto, addr, port, reserve, on_crash, icmp }
        },
    )
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let uid = || prop::sample::select(&UIDS[..]);
    let form = prop_oneof![3 => Just(Form::L3), 1 => Just(Form::L2)];
    let nth = || 0..4usize;
    let tuple = || parts().prop_map(|(proto, addr, port)| Tuple::new(proto, addr, port).unwrap());
    prop_oneof![
        4 => (uid(), form, 1..3u16, any::<u128>())
            .prop_map(|(uid, form, channels, lease)| Op::Open { uid, form, channels, lease }),
        10 => (nth(), want(), any::<u64>()).prop_map(|(app, want, random)| Op::Register { app, want, random }),
        3 => (nth(), nth()).prop_map(|(app, tuple)| Op::Release { app, tuple }),
        1 => (uid(), nth(), nth()).prop_map(|(uid, app, tuple)| Op::Force { uid, app, tuple }),
        2 => nth().prop_map(|app| Op::Close { app }),
        1 => nth().prop_map(|app| Op::Expel { app }),
        3 => prop::collection::vec(address(), 0..6).prop_map(Op::Addresses),
        2 => (prop_oneof![4 => Just(0u32), 1 => Just(1000)], tuple(), uid())
            .prop_map(|(by, tuple, uid)| Op::Reserve { by, tuple, uid }),
        1 => nth().prop_map(Op::Unreserve),
        1 => any::<u8>().prop_map(|taken| Op::Restart { taken: taken & taken >> 4 }),
        3 => (nth(), prop::option::weighted(0.2, uid()), 1..3u16)
            .prop_map(|(app, uid, channels)| Op::Attach { app, uid, channels }),
        1 => (0..8u64).prop_map(|seconds| Op::Later { seconds }),
    ]
}

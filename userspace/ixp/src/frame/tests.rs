//! A chunk is out once, whatever descriptors say, and comes back whatever becomes of its frame.
use super::*;

const GEOMETRY: Geometry = Geometry { chunk: 2048, frames: 4 };

fn umem() -> Umem {
    let backing = HeapBacking::new(GEOMETRY).expect("8 KiB");
    Umem::new(Box::new(backing), GEOMETRY, PortId::new(3)).expect("a legal geometry")
}

#[test]
fn a_chunk_is_claimed_once() {
    let mut umem = umem();
    let desc = Desc { addr: 2048 + 272, len: 60 };
    let frame = umem.claim(desc).expect("parked");
    assert_eq!(umem.claim(desc).unwrap_err(), ClaimError::InUse { addr: desc.addr });
    assert_eq!((frame.len(), frame.port(), umem.out()), (60, PortId::new(3), 1));
    assert_eq!(frame.into_desc(), desc);
    assert_eq!(umem.out(), 0);
    assert_eq!(umem.claim(desc).expect("parked again").into_desc(), desc);
}

#[test]
fn a_frame_is_cleared_to_begin_anywhere_in_its_chunk_and_knows_nothing_of_an_old_packet() {
    let mut umem = umem();
    let meta = RxMeta { frame_len: 60, ..RxMeta::default() };
    for start in [0, 16, 272, 336, 2047] {
        let mut frame = umem.claim(Desc { addr: 2048 + 272, len: 60 }).expect("parked");
        frame.set_meta(&meta).expect("room");
        // A filter may have taken some bytes away before the packet, and left the metadata where it was.
        frame.set_range(20..60).expect("room");
        frame.clear(start).expect("in the chunk");
        assert_eq!((frame.len(), frame.capacity()), (0, 2048 - usize::from(start)));
        assert_eq!(frame.meta(), None);
        frame.set_len(1).expect("room");
        frame.bytes_mut()[0] = 7;
        assert_eq!(frame.clear(2048), Err(2048), "behind the chunk");
        assert_eq!(frame.into_desc(), Desc { addr: 2048 + u64::from(start), len: 1 });
    }
    let mut again = umem.claim(Desc { addr: 2048 + 272, len: 60 }).expect("parked");
    assert_eq!(again.meta(), None, "of the packet that was here before");
    again.set_len(0).expect("room");
}

#[test]
fn two_umems_of_one_port_are_told_apart() {
    let (mut one, mut other) = (umem(), umem());
    let desc = Desc { addr: 0, len: 1 };
    let (a, b) = (one.claim(desc).expect("parked"), other.claim(desc).expect("parked"));
    assert_eq!((a.umem(), b.umem()), (one.id(), other.id()));
    assert_eq!(a.port(), b.port());
    assert_ne!(a.umem(), b.umem());
}

#[test]
fn what_the_kernel_must_not_say_is_an_error() {
    let mut umem = umem();
    assert_eq!(umem.claim(Desc { addr: 8192, len: 1 }).unwrap_err(), ClaimError::OutOfRange { addr: 8192 });
    assert_eq!(
        umem.claim(Desc { addr: u64::MAX, len: 1 }).unwrap_err(),
        ClaimError::OutOfRange { addr: u64::MAX }
    );
    let crossing = Desc { addr: 2000, len: 49 };
    assert_eq!(umem.claim(crossing).unwrap_err(), ClaimError::CrossesChunk { addr: 2000, len: 49 });
    assert_eq!(umem.out(), 0);
}

#[test]
fn a_dropped_frame_comes_back() {
    let mut umem = umem();
    drop(umem.claim(Desc { addr: 4096 + 300, len: 10 }).expect("parked"));
    assert_eq!(umem.out(), 1);
    let mut back = Vec::new();
    umem.reclaim_orphans(|addr| back.push(addr));
    assert_eq!((back, umem.out()), (vec![4096], 0));
    umem.reclaim_orphans(|addr| panic!("{addr} a second time"));
}

#[test]
fn metadata_speaks_of_its_own_frame_only() {
    let mut umem = umem();
    let desc = Desc { addr: 272, len: 60 };
    let mut frame = umem.claim(desc).expect("parked");
    assert_eq!(frame.meta(), None);
    let meta = RxMeta { magic: abi::rxmeta::MAGIC, kind: 6, frame_len: 60, ..RxMeta::default() };
    frame.set_meta(&meta).expect("272 bytes before the packet");
    assert_eq!(frame.meta(), Some(meta));
    frame.set_len(61).expect("room");
    assert_eq!(frame.meta(), None, "another length, another packet");
    frame.set_len(60).expect("room");
    let _ = frame.into_desc();
    assert_eq!(umem.claim(desc).expect("parked").meta(), None, "magic is cleared on the way back");
}

#[test]
fn a_frame_outlives_its_umem() {
    let mut umem = umem();
    let mut frame = umem.claim(Desc { addr: 0, len: 4 }).expect("parked");
    drop(umem);
    frame.bytes_mut().copy_from_slice(b"octr");
    assert_eq!(frame.bytes(), b"octr");
    assert_eq!(frame.set_len(2049), Err(2048));
}

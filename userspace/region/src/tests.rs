//! Regions as the application sees them: what the seals forbid, and what a hole is.
#![allow(
    unsafe_code,
    reason = "an application may try what no safe function offers: a second mapping, more rights"
)]
use std::{
    fs::File,
    num::NonZeroUsize,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::atomic::Ordering,
};

use abi::shm::memory::{Memory, Writable};
use nix::{
    fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl},
    libc::off_t,
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap, mprotect, munmap},
    },
    unistd::{dup, ftruncate},
};

use super::*;

const SIZE: usize = 16 * 4096;

/// What an application does with a descriptor and no library of ours.
fn map(fd: &OwnedFd, protection: ProtFlags) -> Result<std::ptr::NonNull<std::ffi::c_void>, Errno> {
    let length = NonZeroUsize::new(SIZE).expect("not zero");
    // SAFETY: no address is asked for, so nothing that is mapped is replaced.
    unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }
}

#[test]
fn words_and_bytes_go_through_to_the_file_and_back() {
    let (region, fd) = Region::create(Direction::Up, SIZE).expect("memory");
    let file = File::from(fd);
    region.store_u32(128, 0x0102_0304, Ordering::Release);
    region.store_u64(136, 77);
    region.copy_in(4095, b"octroi");
    let mut bytes = [0; 6];
    file.read_exact_at(&mut bytes, 4095).expect("a file");
    assert_eq!(&bytes, b"octroi");
    file.write_all_at(b"O", 4095).expect("up is the application's");
    region.copy_out(4095, &mut bytes);
    assert_eq!(&bytes, b"Octroi");
    assert_eq!((region.load_u32(128, Ordering::Acquire), region.load_u64(136)), (0x0102_0304, 77));
    assert_eq!(region.clone().load_u64(136), 77);
    let theirs = Region::up(&file.into()).expect("the other end");
    theirs.store_u32(132, 5, Ordering::Relaxed);
    assert_eq!((region.load_u32(132, Ordering::Relaxed), Memory::size(&theirs)), (5, SIZE));
    assert_eq!(Memory::size(&region), SIZE);
}

#[test]
fn copies_of_every_length_are_copies_and_write_nothing_else() {
    let (region, _fd) = Region::create(Direction::Up, SIZE).expect("memory");
    let bytes: Vec<u8> = (0..300_u32).map(|n| (n * 7 + 1) as u8).collect();
    for len in 0..bytes.len() {
        for at in [1024, 1031] {
            region.copy_in(at - 16, &[0; 332]);
            region.copy_in(at, &bytes[..len]);
            let mut around = [0xff; 332];
            region.copy_out(at - 16, &mut around);
            assert_eq!(
                (&around[..16], &around[16..16 + len]),
                (&[0; 16][..], &bytes[..len]),
                "{len} at {at}"
            );
            assert!(around[16 + len..].iter().all(|&byte| byte == 0), "{len} at {at}");
        }
    }
    region.copy_in(SIZE - 60, &bytes[..60]);
    region.store_pair(SIZE - 16, [1, 2]);
    assert_eq!([region.load_u64(SIZE - 16), region.load_u64(SIZE - 8)], [1, 2]);
}

#[test]
fn h08_down_cannot_be_made_writable() {
    let (region, fd) = Region::create(Direction::Down, SIZE).expect("memory");
    region.copy_in(0, b"ours");
    let writable = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    assert_eq!(map(&fd, writable).err(), Some(Errno::EPERM));
    let theirs = map(&fd, ProtFlags::PROT_READ).expect("it may be read");
    // SAFETY: the mapping was just made, and this changes its protection only, if at all.
    let made = unsafe { mprotect(theirs, SIZE, writable) };
    assert_eq!(made, Err(Errno::EACCES));
    // SAFETY: it was just made, and nothing points into it.
    unsafe { munmap(theirs, SIZE) }.expect("it is mapped");
    let file = File::from(dup(fd.as_fd()).expect("a descriptor"));
    assert_eq!(file.write_at(b"x", 0).expect_err("sealed").raw_os_error(), Some(nix::libc::EPERM));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let reopened = File::options().read(true).write(true).open(path).expect("the file's mode allows it");
    assert_eq!(reopened.write_at(b"x", 0).expect_err("sealed").raw_os_error(), Some(nix::libc::EPERM));
    assert_eq!(map(&reopened.into(), writable).err(), Some(Errno::EPERM));
    // Ours goes on.
    region.copy_in(0, b"more");
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, 0).expect("a file");
    assert_eq!(&bytes, b"more");
}

#[test]
fn h09_up_neither_shrinks_nor_grows_and_a_hole_is_zeros() {
    let (region, fd) = Region::create(Direction::Up, SIZE).expect("memory");
    let file = File::from(fd);
    for size in [0, 1, SIZE as u64 - 1, SIZE as u64 + 1] {
        assert_eq!(file.set_len(size).expect_err("sealed").raw_os_error(), Some(nix::libc::EPERM), "{size}");
    }
    region.copy_in(4096, &[7; 4096]);
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, hole, 0, SIZE as off_t).expect("holes are not forbidden");
    let mut bytes = [1; 4096];
    region.copy_out(4096, &mut bytes);
    assert_eq!((bytes, region.load_u64(4096)), ([0; 4096], 0));
    region.store_u64(4096, 1);
    assert_eq!(region.load_u64(4096), 1, "and can be filled again");
}

#[test]
fn nobody_adds_a_seal_to_what_is_sealed() {
    let (region, fd) = Region::create(Direction::Up, SIZE).expect("memory");
    let outcome = fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE));
    assert_eq!(outcome, Err(Errno::EPERM), "an application cannot lock itself, or us, out");
    region.store_u32(0, 1, Ordering::Relaxed);
}

#[test]
fn what_comes_without_its_seals_is_not_mapped() {
    let all = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    let sealed = |seals| {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create("loose", flags).expect("a file");
        ftruncate(&fd, SIZE as off_t).expect("memory");
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
        fd
    };
    for seals in [SealFlag::empty(), all, (all - SealFlag::F_SEAL_SHRINK) | SealFlag::F_SEAL_FUTURE_WRITE] {
        let error = Region::down(&sealed(seals)).expect_err("anybody may write it");
        assert!(matches!(error, RegionError::Seals { .. }), "{error}");
    }
    let error = Region::up(&sealed(all - SealFlag::F_SEAL_SHRINK)).expect_err("it may vanish");
    assert!(matches!(error, RegionError::Seals { .. }), "{error}");
    Region::down(&sealed(all | SealFlag::F_SEAL_FUTURE_WRITE)).expect("as promised");
    Region::up(&sealed(all)).expect("as promised");
}

#[test]
fn sizes_have_limits() {
    for given in [0, MAX_SIZE + 1] {
        let error = Region::create(Direction::Down, given).expect_err("out of limits");
        assert!(
            matches!(error, RegionError::Size { given: said, limit: MAX_SIZE } if said == given),
            "{error}"
        );
    }
}

#[test]
#[should_panic(expected = "8 bytes at 65536")]
fn an_offset_outside_is_a_mistake_that_debug_builds_show() {
    let (region, _fd) = Region::create(Direction::Up, SIZE).expect("memory");
    let _ = region.load_u64(SIZE);
}

//! A document that is too long for a datagram: written whole, sealed, and passed as a descriptor beside one.
//!
//! It refuses what is not sealed: a file that its writer could still change would be judged as one thing and used as
//! another, and one that is no memory at all could make its reader wait.
use std::{
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// What is sealed: length and content, and that this is so.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

/// Why a descriptor is not a document.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// Not memory made by memfd_create(2), or not sealed.
    #[error("the descriptor is not a sealed memory file")]
    NotSealed,
    /// Longer than it may be.
    #[error("{given} bytes, at most {limit} are read")]
    TooLong {
        /// How long it is.
        given: u64,
        /// How long it may be.
        limit: u64,
    },
    /// Not the JSON that was expected.
    #[error("not what was expected: {0}")]
    Shape(#[from] serde_json::Error),
    /// The kernel has no memory for it, or the process no descriptor.
    #[error("a memory file: {0}")]
    Kernel(#[source] io::Error),
}

impl From<Errno> for DocumentError {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno.into())
    }
}

/// Makes a document of these bytes.
///
/// # Errors
/// [`DocumentError::Kernel`].
pub fn write(bytes: &[u8]) -> Result<OwnedFd, DocumentError> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create("octroi-document", flags)?);
    file.write_all(bytes).map_err(DocumentError::Kernel)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(file.into())
}

/// Makes a document of a value, as JSON.
///
/// # Errors
/// [`DocumentError::Kernel`], or [`DocumentError::Shape`] for a value that JSON cannot express.
pub fn write_json(value: &impl Serialize) -> Result<OwnedFd, DocumentError> {
    write(&serde_json::to_vec(value)?)
}

/// Reads a document of at most `limit` bytes.
///
/// # Errors
/// [`DocumentError`] if it is none, or longer.
pub fn read(fd: impl AsFd, limit: u64) -> Result<Vec<u8>, DocumentError> {
    let given = fcntl(fd.as_fd(), FcntlArg::F_GET_SEALS).map_err(|_| DocumentError::NotSealed)?;
    if !SealFlag::from_bits_truncate(given).contains(SEALS) {
        return Err(DocumentError::NotSealed);
    }
    let file = File::from(fd.as_fd().try_clone_to_owned().map_err(DocumentError::Kernel)?);
    let given = file.metadata().map_err(DocumentError::Kernel)?.len();
    if limit < given {
        return Err(DocumentError::TooLong { given, limit });
    }
    let mut bytes = vec![0; usize::try_from(given).unwrap_or(usize::MAX)];
    // From its beginning, wherever its writer left off.
    file.read_exact_at(&mut bytes, 0).map_err(DocumentError::Kernel)?;
    Ok(bytes)
}

/// Reads a document of at most `limit` bytes that holds a value as JSON.
///
/// # Errors
/// As [`read`], or [`DocumentError::Shape`].
pub fn read_json<T: DeserializeOwned>(fd: impl AsFd, limit: u64) -> Result<T, DocumentError> {
    Ok(serde_json::from_slice(&read(fd, limit)?)?)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{ftruncate, pipe};

    use super::*;

    #[test]
    fn what_is_written_is_read_and_cannot_be_changed() {
        let fd = write(b"some bytes").unwrap();
        assert_eq!(read(&fd, 10).unwrap(), b"some bytes");
        assert_eq!(read(&fd, 10).unwrap(), b"some bytes", "again: reading moves nothing");
        assert!(matches!(read(&fd, 9), Err(DocumentError::TooLong { given: 10, limit: 9 })));
        assert!(File::from(fd.try_clone().unwrap()).write_all(b"others").is_err());
        assert!(ftruncate(&fd, 3).is_err());
        let list: Vec<u8> = read_json(write_json(&[1, 2]).unwrap(), 100).unwrap();
        assert_eq!(list, [1, 2]);
        assert!(matches!(read_json::<Vec<u8>>(&fd, 10), Err(DocumentError::Shape(_))));
    }

    #[test]
    fn what_its_writer_could_change_is_not_read() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let open = memfd_create("open", flags).unwrap();
        assert!(matches!(read(&open, 10), Err(DocumentError::NotSealed)));
        fcntl(&open, FcntlArg::F_ADD_SEALS(SEALS.difference(SealFlag::F_SEAL_WRITE))).unwrap();
        assert!(matches!(read(&open, 10), Err(DocumentError::NotSealed)));
        let (end, _other) = pipe().unwrap();
        assert!(matches!(read(&end, 10), Err(DocumentError::NotSealed)));
    }
}

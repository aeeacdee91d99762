//! Netlink's framing: messages in a datagram, attributes in a message.
//!
//! Lengths come from the kernel and are checked all the same: what does not fit ends the iteration. Everything is in
//! native byte order and padded to four bytes.

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The request's number.
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// Attributes, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a>(pub &'a [u8]);

/// A message under construction.
#[derive(Debug)]
pub struct Builder(Vec<u8>);

/// The messages of a datagram.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let payload = datagram.get(HEADER..length)?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload,
        };
        datagram = datagram.get(padded(length)..).unwrap_or_default();
        Some(message)
    })
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        /// Flags in the upper bits of an attribute's type.
        const FLAGS: u16 = (nix::libc::NLA_F_NESTED | nix::libc::NLA_F_NET_BYTEORDER) as u16;
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & !FLAGS;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(padded(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

impl Builder {
    /// A request of this kind.
    #[must_use]
    pub fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        Self(bytes)
    }

    /// Appends the fixed part of the payload.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
        self
    }

    /// Appends an attribute made of attributes.
    #[must_use]
    pub fn nested(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self = inner(self.attribute(kind | nix::libc::NLA_F_NESTED as u16, &[]));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The finished message.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(padded(self.0.len()), 0);
    }
}

/// The value of the first attribute of this kind.
#[must_use]
pub fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    Attributes(attributes).find(|&(k, _)| k == kind).map(|(_, value)| value)
}

/// The native `u32` at `at`.
#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The native `u16` at `at`.
#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A text that ends at its first zero byte.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_built_is_read() {
        let first = Builder::new(16, 1, 7).raw(&[1, 2]).attribute(3, b"veth1\0").finish();
        let second = Builder::new(17, 0, 8)
            .nested(1, |b| b.attribute(2, &5_u32.to_ne_bytes()).nested(3, |b| b.attribute(4, b"x")))
            .finish();
        let datagram = [first, second].concat();
        let read: Vec<_> = messages(&datagram).collect();
        assert_eq!((read[0].kind, read[0].flags, read[0].sequence), (16, 1, 7));
        assert_eq!(read[0].payload[..4], [1, 2, 0, 0]);
        assert_eq!(Attributes(&read[0].payload[4..]).collect::<Vec<_>>(), [(3, &b"veth1\0"[..])]);
        let (outer, inner) = Attributes(read[1].payload).next().unwrap();
        assert_eq!(outer, 1);
        assert_eq!(Attributes(inner).map(|(kind, _)| kind).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(find(inner, 2).and_then(|v| u32_at(v, 0)), Some(5));
        assert_eq!(find(find(inner, 3).unwrap(), 4), Some(&b"x"[..]));
        assert_eq!(read.len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = Attributes(message.payload).count();
            }
            let _ = Attributes(&bytes).count();
        }
    }
}

//! Socket addresses of other processes.

use super::kernel;
use super::shared::Shared;
use chaos_table::decide::Peer;

/// A socket address, as its bytes.
#[derive(Clone, Debug, Default)]
pub struct Address {
    bytes: Vec<u8>,
    /// The path of a unix socket; an abstract one begins with `@`.
    unix: Vec<u8>,
}

impl Address {
    /// An address of these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Address {
        let is_unix = bytes.len() > 2 && family(&bytes) == Some(libc::AF_UNIX);
        let path = if is_unix { &bytes[2..] } else { &[] };
        let unix = match path {
            [0, name @ ..] => [b"@", name].concat(),
            path => path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
        };
        Address { bytes, unix }
    }

    /// The address that a call names.
    #[must_use]
    pub fn given(tid: u32, at: u64, len: u32) -> Address {
        let mut bytes = vec![0; (len as usize).min(size_of::<libc::sockaddr_storage>())];
        let read = kernel::read_memory(tid, at, &mut bytes);
        bytes.truncate(read);
        Address::new(bytes)
    }

    /// What it names.
    #[must_use]
    pub fn peer(&self) -> Peer<'_> {
        let port = || self.bytes.get(2..4).map_or(0, |port| u16::from(port[0]) << 8 | u16::from(port[1]));
        match family(&self.bytes) {
            Some(libc::AF_INET) => match self.bytes.get(4..8).and_then(|address| address.first_chunk()) {
                Some(address) => Peer::V4(*address, port()),
                None => Peer::Unknown,
            },
            Some(libc::AF_INET6) => match self.bytes.get(8..24).and_then(|address| address.first_chunk()) {
                Some(address) => Peer::v6(*address, port()),
                None => Peer::Unknown,
            },
            Some(libc::AF_UNIX) if self.bytes.len() > 2 => Peer::Unix(&self.unix),
            _ => Peer::Unknown,
        }
    }

    /// As the log names it; empty for what names nothing.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        match self.peer() {
            Peer::V4([a, b, c, d], port) => format!("{a}.{b}.{c}.{d}:{port}").into_bytes(),
            Peer::V6(address, port) => format!("[{}]:{port}", std::net::Ipv6Addr::from(address)).into_bytes(),
            Peer::Unix(path) => [b"unix:", path].concat(),
            Peer::Unknown => Vec::new(),
        }
    }
}

fn family(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|family| u16::from_ne_bytes(*family).into())
}

/// The host patterns that the tree knows an address by, as bits.
#[must_use]
pub fn hosts_of(address: &Address, shared: &Shared) -> u64 {
    address.peer().address().map_or(0, |address| shared.hosts_of(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_shims_tell_them() {
        let v4 = Address::new(vec![2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((v4.peer(), v4.text()), (Peer::V4([127, 0, 0, 1], 80), b"127.0.0.1:80".to_vec()));
        let mut mapped = vec![10, 0, 1, 187, 0, 0, 0, 0];
        mapped.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9, 0, 0, 0, 0]);
        assert_eq!(Address::new(mapped).peer(), Peer::V4([10, 0, 0, 9], 443));
        assert_eq!(Address::new(b"\x01\0\0name".to_vec()).text(), b"unix:@name");
        assert_eq!(Address::new(b"\x01\0/a/b\0rest".to_vec()).peer(), Peer::Unix(b"/a/b"));
        for short in [&[][..], &[2], &[2, 0, 0], &[1, 0], &[10, 0, 0, 80, 0]] {
            assert_eq!(Address::new(short.to_vec()).peer(), Peer::Unknown, "{short:?}");
        }
    }
}

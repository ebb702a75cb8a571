//! Who and what a rule is about: peers, paths, programs, held against the patterns of a table.

use crate::rule::{Matcher, Span, bytes_of, matcher};

/// A peer, as a socket address or a name tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer<'a> {
    /// IPv4 (also v4-mapped IPv6): address in network order, port.
    V4([u8; 4], u16),
    /// IPv6.
    V6([u8; 16], u16),
    /// A unix socket's path; an abstract name starts with `@`.
    Unix(&'a [u8]),
    /// None or of another family.
    Unknown,
}

impl Peer<'_> {
    /// The peer with a v4-mapped address told as IPv4.
    #[must_use]
    pub fn v6(address: [u8; 16], port: u16) -> Peer<'static> {
        match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Peer::V4([a, b, c, d], port),
            _ => Peer::V6(address, port),
        }
    }

    /// The port; 0 where there is none.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Peer::V4(_, port) | Peer::V6(_, port) => *port,
            Peer::Unix(_) | Peer::Unknown => 0,
        }
    }

    /// Whether this peer has called a server at the port `own`, and so is another one each time: its port is one of those
    /// that the kernel gives out by itself (Linux's default, ip_local_port_range in ip(7)), and `own` is none of them.
    /// The connection is then told by its own end.
    #[must_use]
    pub fn has_called(&self, own: u16) -> bool {
        const GIVEN_OUT: std::ops::RangeInclusive<u16> = 32_768..=60_999;
        GIVEN_OUT.contains(&self.port()) && own != 0 && !GIVEN_OUT.contains(&own)
    }

    /// The address as remembered names hold it: IPv4 in the first four bytes.
    #[must_use]
    pub fn address(&self) -> Option<[u8; 16]> {
        match *self {
            Peer::V4([a, b, c, d], _) => Some([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Peer::V6(address, _) => Some(address),
            Peer::Unix(_) | Peer::Unknown => None,
        }
    }
}

/// The matchers of a table and the text they refer to.
#[derive(Clone, Copy, Debug)]
pub struct Patterns<'a> {
    /// All matchers.
    pub matchers: &'a [Matcher],
    /// All text.
    pub text: &'a [u8],
}

impl<'a> Patterns<'a> {
    fn of(&self, span: Span) -> &'a [Matcher] {
        let first = span.first as usize;
        first.checked_add(span.count as usize).and_then(|end| self.matchers.get(first..end)).unwrap_or(&[])
    }

    /// Whether an absolute path matches any of the path patterns of a span.
    #[must_use]
    pub fn path(&self, span: Span, path: &[u8]) -> bool {
        self.of(span).iter().any(|m| self.path_matcher(m, path))
    }

    /// Whether an absolute path matches one path pattern.
    #[must_use]
    pub fn path_matcher(&self, m: &Matcher, path: &[u8]) -> bool {
        let glob = bytes_of(self.text, m.text);
        match m.kind {
            matcher::PATH => fast_glob::glob_match(glob, path),
            matcher::NAME => fast_glob::glob_match(glob, last_component(path)),
            _ => false,
        }
    }

    /// Whether any of a process's names (program, executable's path) matches any pattern of a span.
    #[must_use]
    pub fn process(&self, span: Span, names: &[&[u8]]) -> bool {
        self.of(span).iter().any(|m| {
            let glob = bytes_of(self.text, m.text);
            names.iter().any(|name| !name.is_empty() && fast_glob::glob_match(glob, name))
        })
    }

    /// Whether a peer matches any pattern of a span; `hosts` are the bits of the names remembered for its address.
    #[must_use]
    pub fn peer(&self, span: Span, peer: Peer<'_>, hosts: u64) -> bool {
        self.of(span).iter().any(|m| self.peer_matches(m, peer, hosts))
    }

    /// The roles that a peer is a member of, as bits, among the matchers of all roles.
    #[must_use]
    pub fn peer_roles(&self, span: Span, peer: Peer<'_>, hosts: u64) -> u64 {
        roles(self.of(span).iter().filter(|m| self.peer_matches(m, peer, hosts)))
    }

    /// As [`Patterns::peer_roles`], of a name that is being looked up.
    #[must_use]
    pub fn host_roles(&self, span: Span, name: &[u8]) -> u64 {
        roles(self.of(span).iter().filter(|m| self.host_matches(m, name)))
    }

    fn peer_matches(&self, m: &Matcher, peer: Peer<'_>, hosts: u64) -> bool {
        match (m.kind, peer) {
            (matcher::UNIX, Peer::Unix(path)) => fast_glob::glob_match(bytes_of(self.text, m.text), path),
            (matcher::CIDR, Peer::V4(address, port)) => in_ports(m, port) && in_network(m, 4, &address),
            (matcher::CIDR, Peer::V6(address, port)) => in_ports(m, port) && in_network(m, 6, &address),
            (matcher::HOST, Peer::V4(_, port) | Peer::V6(_, port)) => {
                in_ports(m, port) && hosts & (1 << (m.host_bit & 63)) != 0
            }
            _ => false,
        }
    }

    /// Whether a name that is being looked up matches any pattern of a span. Ports do not matter here.
    #[must_use]
    pub fn host(&self, span: Span, name: &[u8]) -> bool {
        self.of(span).iter().any(|m| self.host_matches(m, name))
    }

    /// The bits of all host patterns that a name matches.
    #[must_use]
    pub fn host_bits(&self, name: &[u8]) -> u64 {
        self.matchers.iter().filter(|m| self.host_matches(m, name)).fold(0, |bits, m| bits | 1 << (m.host_bit & 63))
    }

    fn host_matches(&self, m: &Matcher, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        m.kind == matcher::HOST && !name.is_empty() && fast_glob::glob_match(bytes_of(self.text, m.text), name)
    }
}

fn roles<'a>(matchers: impl Iterator<Item = &'a Matcher>) -> u64 {
    matchers.fold(0, |bits, m| bits | 1u64.checked_shl(m.role.into()).unwrap_or(0))
}

fn in_ports(m: &Matcher, port: u16) -> bool {
    (m.port_first..=m.port_last).contains(&port)
}

fn in_network(m: &Matcher, family: u8, address: &[u8]) -> bool {
    if m.family == 0 {
        return true;
    }
    if m.family != family {
        return false;
    }
    let bits = usize::from(m.prefix).min(address.len() * 8);
    address.iter().zip(&m.address).enumerate().all(|(index, (a, b))| {
        let left = bits.saturating_sub(index * 8).min(8);
        let mask = if left == 0 { 0 } else { 0xffu8 << (8 - left) };
        a & mask == b & mask
    })
}

/// What stands behind the last slash.
#[must_use]
pub fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// Whether a path lies at or below a directory.
#[must_use]
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    !dir.is_empty() && path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_from_a_server_by_its_port() {
        let at = |port| Peer::V4([10, 0, 0, 1], port);
        assert!(at(40_000).has_called(80) && at(60_999).has_called(61_000) && at(32_768).has_called(8080));
        // A server that was called, two ports that say nothing, and what has none.
        for (peer, own) in [(at(80), 40_000), (at(40_000), 40_001), (at(40_000), 0), (Peer::Unknown, 80)] {
            assert!(!peer.has_called(own), "{peer:?} {own}");
        }
        assert!(!Peer::Unix(b"/a").has_called(80));
    }

    #[test]
    fn networks_match_by_prefix() {
        let m = |family, prefix, address: [u8; 16]| Matcher {
            kind: matcher::CIDR,
            family,
            prefix,
            address,
            ..Matcher::default()
        };
        let ten = m(4, 8, [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(in_network(&ten, 4, &[10, 200, 3, 4]));
        assert!(!in_network(&ten, 4, &[11, 0, 0, 1]));
        assert!(!in_network(&ten, 6, &[10; 16]));
        assert!(in_network(&m(4, 0, [0; 16]), 4, &[1, 2, 3, 4]));
        let twenty_five = m(4, 25, [192, 168, 1, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(in_network(&twenty_five, 4, &[192, 168, 1, 200]));
        assert!(!in_network(&twenty_five, 4, &[192, 168, 1, 100]));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut mapped = [0u8; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(Peer::v6(mapped, 80), Peer::V4([127, 0, 0, 1], 80));
    }
}

//! Names that programs look up themselves: the answers that they get over DNS, and /etc/hosts.
//!
//! Resolvers inside a program (Go's, musl's, a static glibc's) ask over port 53: what such a socket gives its reader is
//! read behind the call, out of the reader's memory. What they find in /etc/hosts is read when they open it. DNS over
//! TLS or HTTPS, nscd and systemd's own protocol are not seen.
//!
//! While a table names hosts, every call of [`CALLS`] is asked about: a filter sees numbers, and no sockets. A read of
//! nothing from a file took 2.5 to 2.8 us then, and 0.3 us bare (medians of 15 rounds of 4,000, two busy cores).

use super::decode::{Buffers, Call, Name, Target};
use super::kernel::{self, Asked};
use super::peers::Address;
use super::places;
use super::rules::Rules;
use super::shared::Shared;
use chaos_table::calls::Op;
use chaos_table::decide::Peer;
use chaos_table::rule::{PlanHeader, TRACK};
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

/// The port of DNS.
const PORT: u16 = 53;
/// The longest message.
const MOST: usize = 65_535;
/// Of /etc/hosts so much is read.
const HOSTS: u64 = 1 << 20;

/// Calls that show which names a program looks up.
pub const CALLS: [i64; 9] = [
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
];

/// Whether a table has rules that name hosts.
#[must_use]
pub fn matter(header: &PlanHeader) -> bool {
    header.planned.get(Op::Getaddrinfo as usize).is_some_and(|word| word & TRACK != 0)
}

/// What a call has to do with names.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Nothing.
    None,
    /// A socket turns to a server.
    Asks(i32),
    /// A descriptor is read, which may be such a socket.
    Reads(i32),
    /// /etc/hosts is opened.
    Hosts,
}

/// What a call has to do with names.
#[must_use]
pub fn part(asked: &Asked) -> Part {
    let call = Call::of(asked, true);
    match (asked.nr, call.target) {
        (libc::SYS_connect, Target::Peer(fd, at, len)) if is_server(&Address::given(asked.tid, at, len)) => {
            Part::Asks(fd)
        }
        (libc::SYS_sendto, Target::Fd(fd)) if asked.args[4] != 0 => {
            let to = Address::given(asked.tid, asked.args[4], asked.args[5] as u32);
            if is_server(&to) { Part::Asks(fd) } else { Part::None }
        }
        (libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg, Target::Fd(fd)) => Part::Reads(fd),
        (libc::SYS_open | libc::SYS_openat | libc::SYS_openat2, Target::Path(Name { at, .. })) => {
            match places::string(asked.tid, at) {
                Some(path) if path == b"/etc/hosts" => Part::Hosts,
                _ => Part::None,
            }
        }
        _ => Part::None,
    }
}

/// Whether an address is that of a server of DNS.
#[must_use]
pub fn is_server(address: &Address) -> bool {
    matches!(address.peer(), Peer::V4(_, PORT) | Peer::V6(_, PORT))
}

/// An answer that a program is about to read.
#[derive(Debug)]
pub struct Lookup {
    tid: u32,
    call: Call,
    rules: Arc<Rules>,
    shared: Arc<Shared>,
}

impl Lookup {
    /// What a call reads.
    #[must_use]
    pub fn of(asked: &Asked, rules: &Arc<Rules>, shared: &Arc<Shared>) -> Lookup {
        let call = Call::of(asked, true);
        Lookup { tid: asked.tid, call, rules: Arc::clone(rules), shared: Arc::clone(shared) }
    }

    /// The call has given so many bytes: whether they name addresses.
    pub fn returned(&self, result: i64) {
        let mut left = usize::try_from(result).unwrap_or(0).min(MOST);
        let parts = match self.call.buffers {
            Buffers::None => Vec::new(),
            _ => self.call.parts(self.tid),
        };
        let mut message = Vec::new();
        for (at, len) in parts {
            let mut part = vec![0; left.min(usize::try_from(len).unwrap_or(usize::MAX))];
            let read = kernel::read_memory(self.tid, at, &mut part);
            message.extend_from_slice(&part[..read]);
            left -= read;
        }
        // Over TCP the length comes first, alone or with the message.
        let Some(answer) = parse(&message).or_else(|| parse(message.get(2..)?)) else { return };
        remember(&answer.name, &answer.addresses, &self.rules, &self.shared);
    }
}

/// A program is about to read /etc/hosts.
pub fn read_hosts(pid: u32, rules: &Rules, shared: &Shared) {
    let path = format!("/proc/{pid}/root/etc/hosts");
    if !fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= HOSTS) {
        return;
    }
    let text = fs::read(path).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        words.for_each(|name| remember(name.as_bytes(), &[bytes_of(address)], rules, shared));
    }
}

fn remember(name: &[u8], addresses: &[[u8; 16]], rules: &Rules, shared: &Shared) {
    let hosts = rules.patterns().host_bits(&name.to_ascii_lowercase());
    if hosts != 0 {
        addresses.iter().for_each(|address| shared.remember_name(address, hosts));
    }
}

/// As [`Peer::address`] gives it.
fn bytes_of(address: IpAddr) -> [u8; 16] {
    let peer = match address {
        IpAddr::V4(address) => Peer::V4(address.octets(), 0),
        IpAddr::V6(address) => Peer::v6(address.octets(), 0),
    };
    peer.address().unwrap_or_default()
}

/// What a message of DNS says of the one name that was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    name: Vec<u8>,
    addresses: Vec<[u8; 16]>,
}

/// The answer in a message (RFC 1035); `None` for what is none. Anybody may have written it.
fn parse(message: &[u8]) -> Option<Answer> {
    const HEADER: usize = 12;
    const A: u16 = 1;
    const AAAA: u16 = 28;
    const IN: u16 = 1;
    let word = |at: usize| message.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let (flags, questions, answers) = (word(2)?, word(4)?, word(6)?);
    // It is an answer, to a usual question, and no error.
    if flags & 0xf80f != 0x8000 || questions != 1 {
        return None;
    }
    let (name, mut at) = labels(message, HEADER)?;
    // Type and class of the question.
    at += 4;
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = behind_name(message, at)?;
        let (kind, class, len) = (word(at)?, word(at + 2)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + len)?;
        match (class, kind) {
            (IN, A) => addresses.extend(<[u8; 4]>::try_from(data).ok().map(|four| bytes_of(IpAddr::from(four)))),
            (IN, AAAA) => addresses.extend(<[u8; 16]>::try_from(data).ok().map(|all| bytes_of(IpAddr::from(all)))),
            _ => {}
        }
        at += 10 + len;
    }
    (!addresses.is_empty()).then_some(Answer { name, addresses })
}

/// A name that is written out, with dots, and what lies behind it.
fn labels(message: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        // Longer ones are links, which no question has.
        let label = message.get(at..at + len).filter(|_| len < 64 && name.len() < 256)?;
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label);
        at += len;
    }
}

/// What lies behind a name that may end in a link to another.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            len @ 1..64 => at += 1 + len,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(name: &str, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
        for (kind, data) in records {
            bytes.extend([0xc0, 12, 0, *kind as u8, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn an_answer_gives_the_addresses_of_the_name_that_was_asked_for() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        let link = b"\x03cdn\x07example\0";
        let bytes = message("api.example", &[(5, link), (1, &[10, 0, 0, 9]), (28, &v6)]);
        let answer = parse(&bytes).unwrap();
        assert_eq!(answer.name, b"api.example");
        assert_eq!(answer.addresses, [bytes_of("10.0.0.9".parse().unwrap()), v6]);
        let mut question = bytes.clone();
        question[2] = 1;
        let mut failed = bytes.clone();
        failed[3] = 0x83;
        for none in [&question, &failed, &message("api.example", &[]), &bytes[..bytes.len() - 1]] {
            assert_eq!(parse(none), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_arrives_is_read_within_its_bounds(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..200, with in any::<u8>(),
        ) {
            let _ = parse(&bytes);
            let mut bytes = message("a.b", &[(1, &[1, 2, 3, 4]), (28, &[0; 16])]);
            let len = bytes.len();
            bytes[at % len] = with;
            bytes.truncate(len - at % 3);
            let _ = parse(&bytes);
        }
    }
}

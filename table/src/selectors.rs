//! Selectors of a fault table: path globs, peers, descriptors.

use crate::counts::whole;
use crate::error::{Problem, quoted};
use crate::quantities::{bytes, in_bytes};
use crate::value::{Value, values};
use std::net::{IpAddr, Ipv4Addr};

/// The longest pattern in bytes.
const LONGEST: usize = 4096;

/// A glob over paths or names, with the syntax of the crate fast-glob, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(pub String);

fn checked_glob(text: &str) -> Result<&str, Problem> {
    if text.is_empty() {
        return Err(Problem::new("the pattern is empty, so nothing could ever match")
            .help("such as *.db or data/**, or leave the key out"));
    }
    if text.len() > LONGEST {
        return Err(Problem::new(format!("the pattern {} is too long", quoted(text))).help("at most 4096 bytes"));
    }
    if text.contains('\0') {
        return Err(Problem::new(format!("the pattern {} holds a NUL byte", quoted(text))));
    }
    if text.starts_with('!') {
        let problem = Problem::new(format!("the pattern {} starts with `!`", quoted(text)));
        return Err(problem.help("leave paths out by `not`: not.path=*.log; a literal `!` is written [!!] or \\!"));
    }
    match fast_glob::validate(text) {
        Ok(()) => Ok(text),
        Err(error) => Err(Problem::new(format!("the pattern {} is malformed: {error}", quoted(text)))),
    }
}

impl Value for Glob {
    const EXPECTED: &'static str = "a glob such as \"*.db\" or \"/var/lib/**\"";
    fn from_text(text: &str) -> Result<Self, Problem> {
        let text = checked_glob(text)?;
        if text.ends_with('/') {
            let problem =
                Problem::new(format!("the pattern {} ends with a slash, so no path could match", quoted(text)));
            return Err(problem.help(format!("{text}** matches everything below it")));
        }
        if text == "~" || text.starts_with("~/") {
            let problem = Problem::new(format!("`~` is not expanded in the pattern {}", quoted(text)));
            return Err(problem.help("write the absolute path"));
        }
        Ok(Glob(text.to_owned()))
    }
    fn to_text(&self) -> String {
        self.0.clone()
    }
}

/// A range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Ports {
    /// Any port.
    pub const ANY: Ports = Ports { first: 0, last: u16::MAX };

    fn read(text: &str) -> Result<Ports, Problem> {
        let port =
            |part: &str| match part.parse::<u16>() {
                Ok(0) | Err(_) => Err(Problem::new(format!("{} is no port", quoted(part)))
                    .help("1 to 65535, or a range such as 8000..8099")),
                Ok(port) => Ok(port),
            };
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let ports = Ports { first: port(first)?, last: port(last)? };
        if ports.last < ports.first {
            return Err(Problem::new(format!("the range of ports {} is reversed", quoted(text))));
        }
        Ok(ports)
    }
}

impl Value for Ports {
    const EXPECTED: &'static str = "a port or a range of them: 8080, \"8000..8099\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        Ports::read(text.trim())
    }
    fn to_text(&self) -> String {
        if self.first == self.last { self.first.to_string() } else { format!("{}..{}", self.first, self.last) }
    }
    fn integer(&self) -> Option<u64> {
        (self.first == self.last).then_some(self.first.into())
    }
}

/// What a `to` pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A network: family 4 or 6, or 0 for any address; IPv4 in the first four bytes.
    Net {
        /// 4, 6, or 0.
        family: u8,
        /// Bits that count.
        prefix: u8,
        /// The address, in network order.
        address: [u8; 16],
        /// Which ports.
        ports: Ports,
    },
    /// A glob over host names, in small letters.
    Host(String, Ports),
    /// A word without dot, port or wildcard: a role, or a host when there is no such role.
    Bare(String),
    /// Surely a role.
    Role(String),
    /// A glob over paths of unix sockets.
    Unix(String),
}

/// An entry of `to`: a role, a host glob, an address or network, with or without a port, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub String);

impl Value for Target {
    const EXPECTED: &'static str = "a peer such as api.example.com, 10.0.0.0/8, :5432 or the name of a role";
    fn from_text(text: &str) -> Result<Self, Problem> {
        peer(text).map(|_| Target(text.to_owned()))
    }
    fn to_text(&self) -> String {
        self.0.clone()
    }
}

impl Target {
    /// What it means.
    pub(crate) fn peer(&self) -> Result<Peer, Problem> {
        peer(&self.0)
    }
}

fn peer(text: &str) -> Result<Peer, Problem> {
    if text.is_empty() {
        return Err(Problem::new("the peer is empty, so nothing could ever match").help(Target::EXPECTED));
    }
    if text.len() > LONGEST || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let problem = Problem::new(format!("{} is no peer", quoted(text)));
        return Err(problem.help("no spaces; several peers are a list"));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return checked_glob(path).map(|path| Peer::Unix(path.to_owned()));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let problem = Problem::new(format!("{} is a URL", quoted(text)));
        return Err(problem.help(format!("leave out {scheme}:// and the path: host or host:port")));
    }
    if let Some(role) = text.strip_prefix("role:").filter(|role| !role.is_empty()) {
        return Ok(Peer::Role(role.to_owned()));
    }
    if let Some(ports) = text.strip_prefix(':').filter(|rest| !rest.starts_with(':')) {
        return Ok(Peer::Net { family: 0, prefix: 0, address: [0; 16], ports: Ports::read(ports)? });
    }
    let brackets = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((inside, after)) = brackets.filter(|(inside, _)| inside.contains(':')) {
        return bracketed(text, inside, after);
    }
    // More than one colon: an IPv6 address without brackets, so without a port.
    if text.matches(':').count() > 1 {
        return network(text, Ports::ANY);
    }
    let (host, ports) = match text.split_once(':') {
        None => (text, Ports::ANY),
        Some(("host", name)) if !name.starts_with(|c: char| c.is_ascii_digit()) => return host_name(name, Ports::ANY),
        Some((host, port)) => (host, Ports::read(port)?),
    };
    // Only an address can have a slash, and a name cannot be digits and dots alone.
    if host.contains('/') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return network(host, ports);
    }
    let bare = !text.contains(['.', ':', '*', '?', '[', '{', '\\']);
    if bare { host_name(host, ports).map(|_| Peer::Bare(text.to_owned())) } else { host_name(host, ports) }
}

fn bracketed(text: &str, inside: &str, after: &str) -> Result<Peer, Problem> {
    let (prefix, ports) = after.split_once(':').map_or((after, None), |(prefix, ports)| (prefix, Some(ports)));
    if !(prefix.is_empty() || prefix.starts_with('/')) {
        return Err(Problem::new(format!("{} is no peer", quoted(text))).help("[address]:port"));
    }
    network(&format!("{inside}{prefix}"), ports.map_or(Ok(Ports::ANY), Ports::read)?)
}

fn host_name(name: &str, ports: Ports) -> Result<Peer, Problem> {
    let name = checked_glob(name)?.trim_end_matches('.');
    let fits = |c: char| c.is_alphanumeric() || "-._*?[]{},!^\\".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        return Err(Problem::new(format!("{} is no host name", quoted(name))).help(Target::EXPECTED));
    }
    Ok(Peer::Host(name.to_lowercase(), ports))
}

/// An address, or a network in CIDR notation.
fn network(text: &str, ports: Ports) -> Result<Peer, Problem> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(parsed) = address.parse::<IpAddr>() else {
        let problem = Problem::new(format!("{} is no address", quoted(address)));
        return Err(problem.help("such as 10.0.0.1, 10.0.0.0/8, [::1]:80 or fd00::/8"));
    };
    let bits = |most: u8| match prefix.map(str::parse::<u8>) {
        None => Ok(most),
        Some(Ok(bits)) if bits <= most => Ok(bits),
        _ => {
            let problem = Problem::new(format!("the prefix of {} is malformed", quoted(text)));
            Err(problem.help(format!("0 to {most} bits")))
        }
    };
    let v4 = |address: Ipv4Addr, prefix: u8| {
        let mut all = [0; 16];
        all[..4].copy_from_slice(&address.octets());
        Peer::Net { family: 4, prefix, address: all, ports }
    };
    Ok(match parsed {
        IpAddr::V4(address) => v4(address, bits(32)?),
        // A mapped address is told as IPv4, as the decision sees it.
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), bits(128)?) {
            (Some(mapped), prefix) if prefix >= 96 => v4(mapped, prefix - 96),
            (_, prefix) => Peer::Net { family: 6, prefix, address: address.octets(), ports },
        },
    })
}

/// Descriptors: `3`, `3..9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdRange {
    /// The first.
    pub first: i32,
    /// The last.
    pub last: i32,
}

impl Value for FdRange {
    const EXPECTED: &'static str = "a descriptor or a range of them: 3, \"3..9\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let fd = |part: &str| {
            let number = whole(part, "descriptor")?;
            i32::try_from(number).map_err(|_| Problem::new(format!("{} is no descriptor", quoted(part))))
        };
        let Some((first, last)) = text.split_once("..") else {
            return fd(text).map(|fd| FdRange { first: fd, last: fd });
        };
        let first = fd(first)?;
        let last = if last.trim().is_empty() { i32::MAX } else { fd(last)? };
        if last < first {
            return Err(
                Problem::new(format!("the range {} is reversed", quoted(text))).help(format!("write {last}..{first}"))
            );
        }
        Ok(FdRange { first, last })
    }
    fn to_text(&self) -> String {
        match self.last {
            last if last == self.first => last.to_string(),
            i32::MAX => format!("{}..", self.first),
            last => format!("{}..{last}", self.first),
        }
    }
    fn integer(&self) -> Option<u64> {
        u64::try_from(self.first).ok().filter(|_| self.first == self.last)
    }
}

/// Sizes in bytes: `4KB`, `1KB..64KB`, `1MB..`, `..512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// The smallest.
    pub first: u64,
    /// The largest; `u64::MAX` for no end.
    pub last: u64,
}

impl Value for SizeRange {
    const EXPECTED: &'static str = "a size in bytes or a range of them: 4096, \"1KB..64KB\", \"1MB..\"";
    const NUMERIC: bool = true;
    fn from_text(text: &str) -> Result<Self, Problem> {
        let Some((first, last)) = text.split_once("..") else {
            return bytes(text).map(|size| SizeRange { first: size, last: size });
        };
        let (first, last) = (first.trim(), last.trim());
        if first.is_empty() && last.is_empty() {
            return Err(Problem::new("the range of sizes has no end, so it says nothing").help(Self::EXPECTED));
        }
        let range = SizeRange {
            first: if first.is_empty() { 0 } else { bytes(first)? },
            last: if last.is_empty() { u64::MAX } else { bytes(last)? },
        };
        if range.last < range.first {
            return Err(
                Problem::new(format!("the range {} is reversed", quoted(text))).help(format!("write {last}..{first}"))
            );
        }
        Ok(range)
    }
    fn to_text(&self) -> String {
        match (self.first, self.last) {
            (first, last) if first == last => in_bytes(first),
            (0, last) => format!("..{}", in_bytes(last)),
            (first, u64::MAX) => format!("{}..", in_bytes(first)),
            (first, last) => format!("{}..{}", in_bytes(first), in_bytes(last)),
        }
    }
    fn integer(&self) -> Option<u64> {
        (self.first == self.last).then_some(self.first)
    }
}

values! { Glob Target FdRange SizeRange Ports }

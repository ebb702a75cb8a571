//! Which rules match what a call acts on, and which only `protect` keeps away.

use super::decide::Asking;
use super::decode::{Name, Target};
use super::peers::Address;
use super::places;
use super::there::There;
use super::tree::Process;
use super::{kernel, peers};
use chaos_table::decide::Peer;
use chaos_table::fits::{Nature, nature};
use chaos_table::matching::Matching;
use chaos_table::rule::flag;

/// The rules that match a call.
pub struct Found {
    /// Those that match.
    pub hit: u64,
    /// Those that would but for `protect`.
    pub protected: u64,
    /// What the call acts on, as the log names it.
    pub resource: Vec<u8>,
}

/// A call whose rules are being looked for.
pub struct Selecting<'a> {
    /// The call.
    pub asking: &'a Asking<'a>,
    /// Its process's descriptors.
    pub there: &'a There<'a>,
    /// Its process.
    pub process: &'a Process,
    /// Bytes that it asks for.
    pub amount: u64,
}

impl Selecting<'_> {
    /// Of the rules in `wanted`, those that match.
    pub fn find(&self, wanted: u64) -> Found {
        let wanted = self.pick(wanted);
        let none = Found { hit: 0, protected: 0, resource: Vec::new() };
        if wanted == 0 {
            return none;
        }
        match self.asking.call.target {
            Target::Fd(fd) => self.descriptor(wanted, fd),
            Target::Fds(to, from) => {
                let spared = self.spared_descriptor(wanted, to) | self.spared_descriptor(wanted, from);
                either(&self.descriptor(wanted, from), &self.descriptor(wanted, to), spared)
            }
            Target::Path(name) => self.path(wanted, name),
            Target::Entries(old, new) => {
                let (old, new) = (self.path(wanted, old), self.path(wanted, new));
                let matching = self.matching();
                let spared = [&old, &new].map(|found| matching.spared_path(&found.resource, wanted));
                either(&old, &new, spared[0] | spared[1])
            }
            Target::Peer(_, at, len) => {
                let address = Address::given(self.asking.asked.tid, at, len);
                let hit =
                    self.matching().peer(address.peer(), peers::hosts_of(&address, &self.asking.common.shared), wanted);
                Found { hit, protected: 0, resource: address.text() }
            }
            Target::Program(name) => {
                let resource = places::string(self.asking.asked.tid, name.at).unwrap_or_default();
                Found { hit: wanted, resource, ..none }
            }
            Target::Memory | Target::Nothing => Found { hit: wanted, ..none },
        }
    }

    /// What the call acts on, as the log names it.
    #[must_use]
    pub fn resource(&self) -> Vec<u8> {
        let (pid, tid) = (self.asking.pid, self.asking.asked.tid);
        let dir = self.process.dir(pid);
        let descriptor = |fd| {
            let is = places::descriptor(dir, fd);
            let told = if is.starts_with(b"socket:") { self.named(fd, &self.peer_of(fd)) } else { Vec::new() };
            if told.is_empty() { is } else { told }
        };
        let path = |name| places::path(dir, pid, tid, name).unwrap_or_default();
        match self.asking.call.target {
            Target::Fd(fd) => descriptor(fd),
            Target::Fds(to, from) => [descriptor(from), descriptor(to)].join(&b" -> "[..]),
            Target::Path(name) => path(name),
            Target::Entries(old, new) => [path(old), path(new)].join(&b" -> "[..]),
            Target::Peer(_, at, len) => Address::given(tid, at, len).text(),
            Target::Program(name) => places::string(tid, name.at).unwrap_or_default(),
            Target::Memory | Target::Nothing => Vec::new(),
        }
    }

    fn matching(&self) -> Matching<'_> {
        let header = &self.asking.rules.plan.header;
        Matching {
            rules: &self.asking.rules.plan.rules,
            patterns: self.asking.rules.patterns(),
            protect: header.protect,
            work_dir: header.work_dir,
            executable: &self.process.executable,
        }
    }

    /// Of the rules in `wanted`, those whose descriptors and sizes do not speak against this call.
    fn pick(&self, wanted: u64) -> u64 {
        let fds = match self.asking.call.target {
            Target::Fd(fd) => [fd, fd],
            Target::Fds(to, from) => [to, from],
            _ => [-1, -1],
        };
        let any_in = |first, last| fds.iter().any(|fd| (first..=last).contains(fd));
        let rules = self.asking.rules.plan.rules.iter().enumerate();
        rules.filter(|(_, rule)| rule.flags & (flag::FD | flag::SIZE | flag::EXCEPT) != 0).fold(
            wanted,
            |bits, (index, rule)| {
                let except = &rule.except;
                let fits = (!rule.has(flag::FD) || any_in(rule.fd_first, rule.fd_last))
                    && (!rule.has(flag::SIZE) || (rule.size_first..=rule.size_last).contains(&self.amount));
                let spared = rule.has(flag::EXCEPT)
                    && (any_in(except.fd_first, except.fd_last)
                        || (except.size_first..=except.size_last).contains(&self.amount));
                if fits && !spared { bits } else { bits & !(1 << index) }
            },
        )
    }

    fn descriptor(&self, wanted: u64, fd: i32) -> Found {
        let header = &self.asking.rules.plan.header;
        let wanted = if (0..3).contains(&fd) { wanted & header.std_fds } else { wanted };
        let none = Found { hit: 0, protected: 0, resource: Vec::new() };
        if wanted == 0 {
            return none;
        }
        let is = places::descriptor(self.process.dir(self.asking.pid), fd);
        if is.is_empty() {
            // Not open: the real call will say so.
            return none;
        }
        let asking = wanted & header.needs_fd;
        let (only_files, only_sockets) = self.asking.rules.only(self.asking.op);
        if is.starts_with(b"socket:") {
            let address = self.peer_of(fd);
            let matching = self.matching().peer(
                address.peer(),
                peers::hosts_of(&address, &self.asking.common.shared),
                asking & !only_files,
            );
            let hit = (wanted ^ asking) | matching;
            let told = if hit == 0 { Vec::new() } else { self.named(fd, &address) };
            return Found { hit, protected: 0, resource: if told.is_empty() { is } else { told } };
        }
        let (mut hit, mut protected) = self.matching().path(&is, asking & !only_sockets);
        // The kernel is asked last: most rules are about other paths.
        if (hit | protected) & only_files != 0 && !self.is_file(&is, fd) {
            (hit, protected) = (hit & !only_files, protected & !only_files);
        }
        Found { hit: (wanted ^ asking) | hit, protected, resource: is }
    }

    fn is_file(&self, is: &[u8], fd: i32) -> bool {
        // What has no place in a file system says so by its name, but for devices and named pipes.
        is.first() == Some(&b'/')
            && match is.starts_with(b"/dev/") {
                true => nature(self.there, fd).is_file(),
                false => {
                    let mode = self.process.dir(self.asking.pid).mode(fd);
                    !matches!(mode.map_or(0, |mode| mode & libc::S_IFMT), libc::S_IFIFO | libc::S_IFCHR)
                }
            }
    }

    /// The peer of a socket; of one that has none, its own address.
    pub fn peer_of(&self, fd: i32) -> Address {
        let socket = self.there.borrow(fd);
        let bytes = socket.and_then(|socket| {
            kernel::socket_address(&socket, false).or_else(|| kernel::socket_address(&socket, true))
        });
        Address::new(bytes.unwrap_or_default())
    }

    /// As the log tells a connection to a peer: by the own end where that has called.
    fn named(&self, fd: i32, peer: &Address) -> Vec<u8> {
        let own = self.there.borrow(fd).and_then(|socket| kernel::socket_address(&socket, true));
        let own = Address::new(own.unwrap_or_default());
        if peer.peer().has_called(own.peer().port()) { own.text() } else { peer.text() }
    }

    fn spared_descriptor(&self, wanted: u64, fd: i32) -> u64 {
        let matching = self.matching();
        if matching.spared_by(wanted, |_| true) == 0 {
            return 0;
        }
        let address = match nature(self.there, fd) {
            Nature::Stream | Nature::Datagram | Nature::Packets | Nature::Listener => self.peer_of(fd),
            _ => Address::default(),
        };
        if address.peer() != Peer::Unknown {
            let hosts = peers::hosts_of(&address, &self.asking.common.shared);
            return matching.spared_by(wanted, |rule| matching.patterns.peer(rule.except.peers, address.peer(), hosts));
        }
        matching.spared_path(&places::descriptor(self.process.dir(self.asking.pid), fd), wanted)
    }

    fn path(&self, wanted: u64, name: Name) -> Found {
        let (pid, tid) = (self.asking.pid, self.asking.asked.tid);
        let resource = places::path(self.process.dir(pid), pid, tid, name).unwrap_or_default();
        let (hit, protected) = self.matching().path(&resource, wanted);
        Found { hit, protected, resource }
    }
}

/// What holds of a call that acts on two things: a rule that may hit one of them hits the call, unless its `not` names one
/// of them.
fn either(one: &Found, other: &Found, spared: u64) -> Found {
    let hit = (one.hit | other.hit) & !spared;
    let resource = [&one.resource[..], &other.resource].join(&b" -> "[..]);
    Found { hit, protected: (one.protected | other.protected) & !hit & !spared, resource }
}

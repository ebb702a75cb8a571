//! The compiled fault table: plain old data that lies in the session file and that both sides read in place.
//!
//! Every field is an integer for which any bit pattern is valid, since a hostile target may have written it. What can
//! change while a program runs (`enabled`, `rate`) is read with atomic loads by the shim.

pub use crate::kinds::Kinds;
use bytemuck::{Pod, Zeroable};

/// At most this many rules: a rule is one bit of a 64-bit mask, and the highest bits are the shim's own.
pub const MAX_RULES: usize = 60;
/// Bit of an operation's mask: while a runtime boots, the call may show that its user's program is at work.
pub const SIGN: u64 = 1 << 61;
/// Bit of an operation's mask: the operation changes what a descriptor is, and some rule cares.
pub const TRACK: u64 = 1 << 62;
/// Bit of an operation's mask: it has open episodes, which a success may close, or its calls are timed. The highest, since
/// the entries of the shim tell it by the sign.
pub const WATCH: u64 = 1 << 63;
/// The bits of a mask that are rules.
pub const RULE_BITS: u64 = (1 << MAX_RULES) - 1;

/// The numbers of the bits that are set, the lowest first.
pub fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            index
        })
    })
}
/// Room for operations in the masks; more than there are, so that the layout survives new rows.
pub const OP_ROOM: usize = 320;
/// In place of an operation's mask, the last word of those that the entries compare: it moves on with each change of a
/// rule that is there.
pub const STAMP: usize = OP_ROOM - 1;
const _: () = assert!(crate::calls::OPS <= STAMP);
/// By so much (2^64 over the golden ratio): added to a mask, stamps that are near to each other still tell masks apart.
pub const STAMP_STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// A rate of 100 %: every match fires, whatever the draw.
pub const ALWAYS: u64 = u64::MAX;
/// At most this many roles can stand in for each other's members: each is a bit of an episode.
pub const MAX_ROLES: usize = 64;
/// At most this many host patterns in one table: each is a bit beside a remembered address.
pub const MAX_HOSTS: usize = 64;

/// Consecutive elements of another array.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What a rule's counters are kept for; value of [`Rule::per`].
pub mod per {
    /// Each process (the default).
    pub const PROCESS: u8 = 0;
    /// Each thread.
    pub const THREAD: u8 = 1;
    /// The whole tree.
    pub const TREE: u8 = 2;
}

/// Bits of [`Rule::flags`].
pub mod flag {
    /// Has `path` matchers.
    pub const PATH: u32 = 1;
    /// Has `to` matchers.
    pub const PEER: u32 = 2;
    /// Has `process` matchers.
    pub const PROCESS: u32 = 4;
    /// `protect` applies to it (no `path` of its own and protection is on).
    pub const PROTECTED: u32 = 8;
    /// May hit fds 0 to 2 (`fd` names them, or `protect: none`).
    pub const STD_FDS: u32 = 16;
    /// Counters are needed for `after`, `nth` or `every`.
    pub const COUNTS: u32 = 32;
    /// The end of a connection is silent (EOF), not a reset.
    pub const SILENT: u32 = 64;
    /// Has an `fd` range.
    pub const FD: u32 = 128;
    /// Has a `size` range.
    pub const SIZE: u32 = 256;
    /// Has `caller` matchers.
    pub const CALLER: u32 = 512;
    /// Has exclusions.
    pub const EXCEPT: u32 = 1024;
    /// Names failure points.
    pub const POINT: u32 = 2048;
    /// No call triggers it: the launcher does it, from `from_ns` on.
    pub const LAUNCHER: u32 = 1 << 16;
    /// A torn write kills the process.
    pub const KILLS: u32 = 1 << 17;
    /// How long the calls that it matches take is counted, see [`crate::latency`].
    pub const TIMED: u32 = 1 << 18;
}

/// What runs out; value of [`Rule::what`].
pub mod exhaust {
    /// Allocated bytes.
    pub const MEMORY: u8 = 1;
    /// File descriptors.
    pub const FILES: u8 = 2;
    /// Processes of the tree.
    pub const PROCESSES: u8 = 3;
    /// Threads of a process.
    pub const THREADS: u8 = 4;
    /// Bytes in files.
    pub const DISK: u8 = 5;
}

/// Bits of [`Rule::clocks`].
pub mod clocks {
    /// The wall clock.
    pub const REALTIME: u32 = 1;
    /// The monotonic clock.
    pub const MONOTONIC: u32 = 2;
}

/// Shape of a delay; value of [`Delay::shape`].
pub mod shape {
    /// Always `base`.
    pub const FIXED: u32 = 0;
    /// Between `base - spread` and `base + spread`.
    pub const UNIFORM: u32 = 1;
    /// Normal around `base` with the standard deviation `spread`, never below zero.
    pub const NORMAL: u32 = 2;
    /// `base`, and on top of it a Lomax (Pareto II) share of shape 2 whose mean is `spread`.
    pub const PARETO: u32 = 3;
}

/// What `corrupt` does; value of [`Rule::change`].
pub mod change {
    /// Flips `flip_bits` bits in each `flip_per` bytes.
    pub const FLIP: u32 = 0;
    /// Zeroes `flip_bits` bytes in each `flip_per` bytes.
    pub const ZERO: u32 = 1;
    /// `keep_ppm` of the data comes twice.
    pub const DUPLICATE: u32 = 2;
    /// `keep_ppm` of the data is cut off.
    pub const TRUNCATE: u32 = 3;
}

/// How long a delay is, in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// One of [`shape`].
    pub shape: u32,
    /// Zero.
    pub reserved: u32,
    /// The middle.
    pub base_ns: u64,
    /// Half width (uniform), standard deviation (normal), or mean of what comes on top (pareto).
    pub spread_ns: u64,
}

/// One errno of a weighted choice.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Weighted {
    /// The errno (or EAI code).
    pub code: i32,
    /// Sum of the weights up to and with this one.
    pub cumulative: u32,
}

/// What a rule's `not` keeps away: a call that any of these matches.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Except {
    /// Path matchers.
    pub paths: Span,
    /// Peer matchers.
    pub peers: Span,
    /// Process name matchers.
    pub processes: Span,
    /// Caller matchers.
    pub callers: Span,
    /// Descriptors from here ...
    pub fd_first: i32,
    /// ... to here; none when it is the smaller.
    pub fd_last: i32,
    /// Sizes from here ...
    pub size_first: u64,
    /// ... to here; none when it is the smaller.
    pub size_last: u64,
}

/// One rule, 512 bytes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Live. 0: the rule is switched off; it then has no bit in [`PlanHeader::ops`], so that it costs nothing.
    pub enabled: u32,
    /// Number of a `FaultKind`.
    pub fault: u8,
    /// One of [`per`].
    pub per: u8,
    /// `exhaust`: one of [`exhaust`].
    pub what: u8,
    /// Zero.
    pub reserved: u8,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Zero.
    pub reserved_too: u32,
    /// Live: a match fires when its 64-bit draw is below this; [`ALWAYS`] fires on every match.
    pub rate: u64,
    /// Skip so many matches first.
    pub after: u64,
    /// First match (1-based, counted past `after`) that fires; 0: no `nth`.
    pub nth_first: u64,
    /// Last match that fires.
    pub nth_last: u64,
    /// Every so many matches from the first.
    pub nth_step: u64,
    /// Every so many matches; 0: no `every`.
    pub every: u64,
    /// Inject so often, then heal; 0: no limit.
    pub times: u64,
    /// Window: not before this, ns since arming of the process's session start.
    pub from_ns: u64,
    /// Window: not at or after this; `u64::MAX` is open.
    pub until_ns: u64,
    /// Path matchers; any of them matches.
    pub paths: Span,
    /// Peer matchers.
    pub peers: Span,
    /// Process name matchers.
    pub processes: Span,
    /// Descriptors from `fd_first` ...
    pub fd_first: i32,
    /// ... to `fd_last`, when [`flag::FD`] is set.
    pub fd_last: i32,
    /// Caller matchers.
    pub callers: Span,
    /// Sizes from here ...
    pub size_first: u64,
    /// ... to here, when [`flag::SIZE`] is set.
    pub size_last: u64,
    /// What it does not hit, when [`flag::EXCEPT`] is set.
    pub except: Except,
    /// The choice of errnos; none: the usual ones of the call.
    pub errnos: [Weighted; 8],
    /// How many of `errnos` are used.
    pub errno_count: u32,
    /// `short`, `torn`: parts per million of the request that stay. `corrupt`: those that [`change`] is about.
    pub keep_ppm: u32,
    /// `latency`: the delay. `hang` and `dns` hang: `base_ns` is the longest block, 0 for no end. `unreachable`: `base_ns`
    /// is how long it takes. `freeze`: how long it stands still.
    pub delay: Delay,
    /// `corrupt`: so many bits (or bytes, to zero) ...
    pub flip_bits: u32,
    /// ... in each so many bytes (0: in each call).
    pub flip_per: u32,
    /// `signal`: its number. `exit`: the code. `dns`: the EAI code. `unreachable`: the errno, 0 by the kind of socket.
    pub code: i32,
    /// Zero.
    pub reserved_three: u32,
    /// `exhaust`: the limit in bytes, or in how many; disk is counted in whole blocks. `disconnect`: bytes that move first.
    /// `throttle`: bytes a second.
    pub limit: u64,
    /// Name of the rule in the text area (bytes).
    pub name: Span,
    /// The table's own `component` label.
    pub component: Span,
    /// The table's own `message` label.
    pub message: Span,
    /// `clock`: ns that the clock is ahead.
    pub offset_ns: i64,
    /// `clock`: ns that it jumps ahead.
    pub jump_ns: i64,
    /// `clock`: millionths of a second that it goes in a second; 0 for no change.
    pub pace_ppm: u64,
    /// `clock`: length of a jump; by the launcher: time between two acts; 0 for none.
    pub period_ns: u64,
    /// `clock`: bits of [`clocks`].
    pub clocks: u32,
    /// Zero.
    pub reserved_clock: u32,
    /// `corrupt`: one of [`change`].
    pub change: u32,
    /// `return`: the value.
    pub value: i32,
    /// Failure points of the program's own, by name; when [`flag::POINT`] is set.
    pub points: Span,
    /// Only this thread: number of its process image (upper half) and its tid; 0: all.
    pub owner: u64,
    /// Hash of the spec of a rule that may be asked for again while the program runs; 0: none.
    pub origin: u64,
    /// Room for what comes.
    pub room: [u64; 12],
}

const _: () = assert!(size_of::<Rule>() == 512);

impl Rule {
    /// Whether a flag is set.
    #[must_use]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Kind of a [`Matcher`].
pub mod matcher {
    /// A glob over an absolute path.
    pub const PATH: u8 = 1;
    /// A glob over the last component of a path.
    pub const NAME: u8 = 2;
    /// An address range and a port range.
    pub const CIDR: u8 = 3;
    /// A glob over host names, and a port range.
    pub const HOST: u8 = 4;
    /// A glob over the path of a unix socket (abstract names start with `@`).
    pub const UNIX: u8 = 5;
}

/// One pattern of a selector.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// One of [`matcher`].
    pub kind: u8,
    /// CIDR: 4 or 6, or 0 for any address.
    pub family: u8,
    /// CIDR: length of the prefix in bits.
    pub prefix: u8,
    /// HOST: its bit beside remembered addresses.
    pub host_bit: u8,
    /// PATH, NAME of `protect`: not 0 when it does not reach below the user's working directory.
    pub spares_work_dir: u8,
    /// CIDR, HOST, UNIX among [`PlanHeader::roles`]: the number of its role.
    pub role: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// First port that matches.
    pub port_first: u16,
    /// Last port that matches.
    pub port_last: u16,
    /// The pattern in the text area (bytes).
    pub text: Span,
    /// CIDR: the network, in network byte order; IPv4 in the first four bytes.
    pub address: [u8; 16],
}

const _: () = assert!(size_of::<Matcher>() == 36);

/// When injection begins; value of [`PlanHeader::arm`].
pub mod arm {
    /// From the first instruction after exec.
    pub const EXEC: u32 = 0;
    /// From `main`; for known runtimes from the first sign of the user's own program.
    pub const MAIN: u32 = 1;
    /// So long after the start of the run.
    pub const AFTER: u32 = 2;
    /// When a process of the tree opens a certain path.
    pub const PATH: u32 = 3;
    /// When a process of the tree listens on a certain port.
    pub const LISTEN: u32 = 4;
    /// When somebody says so.
    pub const CTL: u32 = 5;
}

/// The head of the compiled table.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct PlanHeader {
    /// The seed of every decision.
    pub seed: u64,
    /// One of [`arm`].
    pub arm: u32,
    /// 0: nothing is injected.
    pub enabled: u32,
    /// `arm: {after: ...}` in ns.
    pub arm_ns: u64,
    /// `for`: injection ends so many ns after the start of the run; `u64::MAX`: never.
    pub until_ns: u64,
    /// `--max-faults`; `u64::MAX`: no limit.
    pub max_faults: u64,
    /// How many rules.
    pub rule_count: u32,
    /// How many matchers.
    pub matcher_count: u32,
    /// How many bytes of text.
    pub text_len: u32,
    /// Live: 0 while the whole tree waits for its sign (`arm: {path, listen}, ctl`); then [`Self::ops`] has no rules yet.
    pub armed: u32,
    /// Globs that `protect` leaves alone.
    pub protect: Span,
    /// The user's working directory in the text area: never protected. Empty when it is `/`.
    pub work_dir: Span,
    /// Rules that may hit fds 0 to 2.
    pub std_fds: u64,
    /// Rules that need to know what a descriptor is.
    pub needs_fd: u64,
    /// Of these, the rules that ask for the path of a file.
    pub needs_path: u64,
    /// Rules about memory, which must not fire inside the loader.
    pub memory: u64,
    /// Live: when the tree was armed by its sign, ns since the start of the run; windows count from there.
    pub armed_ns: u64,
    /// `arm: {path: ...}`: the paths.
    pub arm_paths: Span,
    /// `arm: {listen: ...}`: from this port ...
    pub arm_port_first: u32,
    /// ... to this.
    pub arm_port_last: u32,
    /// Live: rules that were added while the program runs.
    pub added_rules: u64,
    /// The members of all roles.
    pub roles: Span,
    /// Room for what comes.
    pub room: [u64; 6],
    /// Live: which rules are what.
    pub kinds: Kinds,
    /// Live: for each operation, the rules on it that are in force, [`TRACK`], [`SIGN`] and [`WATCH`]. What a hook looks at
    /// first.
    pub ops: [u64; OP_ROOM],
    /// What [`Self::ops`] is once the tree is armed and enabled.
    pub planned: [u64; OP_ROOM],
    /// For each operation, the rules that want a file behind its descriptor.
    pub only_files: [u64; OP_ROOM],
    /// For each operation, the rules that want a socket behind its descriptor.
    pub only_sockets: [u64; OP_ROOM],
    /// Live: of [`Self::ops`] what was added while the program runs. A process that none of the first rules is about looks
    /// here, so that they cost it nothing.
    pub added: [u64; OP_ROOM],
}

const _: () = assert!(size_of::<PlanHeader>() == 192 + 5 * 8 * OP_ROOM + size_of::<Kinds>());

/// A fault table ready to be put into a session.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The head.
    pub header: PlanHeader,
    /// The rules, at most [`MAX_RULES`].
    pub rules: Vec<Rule>,
    /// The patterns that rules and `protect` refer to.
    pub matchers: Vec<Matcher>,
    /// The bytes that patterns and names refer to.
    pub text: Vec<u8>,
}

impl Plan {
    /// The text behind a span; empty when the span lies outside.
    #[must_use]
    pub fn text_of(&self, span: Span) -> &str {
        text_of(&self.text, span)
    }

    /// The name of a rule.
    #[must_use]
    pub fn rule_name(&self, index: usize) -> &str {
        self.rules.get(index).map_or("", |rule| self.text_of(rule.name))
    }
}

/// The text behind a span; empty when the span lies outside or is no UTF-8.
#[must_use]
pub fn text_of(text: &[u8], span: Span) -> &str {
    std::str::from_utf8(bytes_of(text, span)).unwrap_or("")
}

/// The bytes behind a span; empty when the span lies outside.
#[must_use]
pub fn bytes_of(text: &[u8], span: Span) -> &[u8] {
    let first = span.first as usize;
    first.checked_add(span.count as usize).and_then(|end| text.get(first..end)).unwrap_or(&[])
}

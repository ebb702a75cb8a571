//! One record of the log: 64 bytes, followed by as many 64-byte continuation slots as its text needs.
//!
//! A slot belongs to the log when its `commit` holds its own index plus one; the writer stores that last. So a slot
//! that was claimed by a process that died is never taken for a record.

use bytemuck::{Pod, Zeroable};

/// Bytes of a slot.
pub const SLOT: usize = 64;
/// Bytes of text in a continuation slot.
pub const CONT_TEXT: usize = SLOT - 8;
/// Set in `commit` of a continuation slot.
pub const CONT: u64 = 1 << 63;
/// Set in `commit` of a record that the launcher wrote itself: it was never in the ring, and its number counts those.
pub const OWN: u64 = 1 << 62;
/// In [`Record::op`]: no call, the launcher acted.
pub const NO_CALL: u16 = u16::MAX;
/// The longest text of a record in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 1024;

/// What a record says; value of [`Record::kind`].
pub mod kind {
    /// A process came under the table. Text: lineage, program, executable, each ended by NUL; `effect`: number of the
    /// parent's image; `fault`: one of [`crate::session::engine`].
    pub const PROCESS: u8 = 1;
    /// A fault fired. Text: the resource.
    pub const INJECTION: u8 = 2;
    /// A slow fault came to its end: `nth` is the ring index of its injection, `result` what the caller got.
    pub const DELIVERY: u8 = 3;
    /// What cannot be followed. Text: reason, program, each ended by NUL; `effect`: one of [`super::escaped`].
    pub const ESCAPE: u8 = 4;
    /// A fault that fired where no kernel could produce it. Text: the reason.
    pub const UNSUITABLE: u8 = 5;
    /// A moment worth knowing. Text: what it is.
    pub const MARK: u8 = 6;
    /// A watched call succeeded again, which ends an episode. `nth`: ring index of the injection that opened it; `op`
    /// and text: the call and the resource that succeeded, which may be another member of the same role; `rule`: that
    /// of the opening injection; `at_ns`: when the call was complete; pid, tid and process are those of its caller.
    /// `requested`: how many calls on the resource no fault had been injected into by then, this one included.
    pub const RECOVERY: u8 = 7;
    /// The program tells something itself. Text: component, event, data, each ended by NUL.
    pub const EVENT: u8 = 8;
    /// A figure that the program knows. Text: its name; `result`: the bits of the value, a 64-bit float.
    pub const METRIC: u8 = 9;
    /// A call on a resource that is watched and that no fault was injected into: one that failed all the same, or one of
    /// the first after the recovery. `nth`, `op`, `rule`: as of a recovery; `requested`: the how manieth such call it is,
    /// since the fault or since the recovery: of many only some are told; `effect`: its errno, 0 if it succeeded.
    pub const ATTEMPT: u8 = 10;
    /// Nobody will see a recovery from this injection: `nth` is its ring index. Text: why.
    pub const UNWATCHED: u8 = 11;
}

/// Whether a record ends what another one began: a slow fault, or an episode.
#[must_use]
pub(crate) const fn is_end(kind: u8) -> bool {
    matches!(kind, kind::DELIVERY | kind::RECOVERY)
}

/// What it is that escaped; value of an ESCAPE record's [`Record::effect`].
pub mod escaped {
    /// A child that the writer starts.
    pub const CHILD: i32 = 0;
    /// The writer's own process, which goes on as another program.
    pub const ITSELF: i32 = 1;
    /// Some of what the writer's process does.
    pub const PART: i32 = 2;
}

/// How far an injection got; value of [`Record::status`].
pub mod status {
    /// Recorded; the caller has not seen it yet.
    pub const FIRED: u8 = 1;
    /// The caller saw its effect.
    pub const DELIVERED: u8 = 2;
    /// Recorded; a DELIVERY record follows when the caller has seen the effect.
    pub const PENDING: u8 = 3;
}

/// The first slot of a record.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Ring index + 1, stored last.
    pub commit: u64,
    /// CLOCK_MONOTONIC, ns since the session's start.
    pub at_ns: u64,
    /// Thread group of the caller.
    pub pid: u32,
    /// Thread of the caller.
    pub tid: u32,
    /// Number of the process image in this session (a pid may come again).
    pub process: u32,
    /// Index of the rule.
    pub rule: u16,
    /// Number of the operation.
    pub op: u16,
    /// One of [`kind`].
    pub kind: u8,
    /// Number of the fault kind.
    pub fault: u8,
    /// One of [`status`].
    pub status: u8,
    /// Slots of this record, this one counted.
    pub slots: u8,
    /// errno, EAI code, signal, exit code, or uid of the parent, as the kind says.
    pub effect: i32,
    /// Which match of the rule this was, in the scope that the rule counts in.
    pub nth: u64,
    /// What was asked for: bytes, or ns of a delay.
    pub requested: u64,
    /// What the caller got.
    pub result: i64,
}

/// A slot that continues the text of a record.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Debug)]
pub struct Continuation {
    /// Ring index + 1, with [`CONT`] set.
    pub commit: u64,
    /// Text; the last slot is filled with NUL.
    pub text: [u8; CONT_TEXT],
}

const _: () = assert!(size_of::<Record>() == SLOT && size_of::<Continuation>() == SLOT);

/// How many slots a record with so much text takes.
#[must_use]
pub const fn slots_for(text_len: usize) -> usize {
    let len = if text_len > MAX_TEXT { MAX_TEXT } else { text_len };
    1 + len.div_ceil(CONT_TEXT)
}

//! What a thread knows of itself, and the token that keeps the shim from entering itself.
//!
//! Initial-exec TLS without destructors: `__tls_get_addr` may allocate, and Rust's own TLS with Drop fails in late
//! destructors. Stable Rust has no attribute for the model, so the block is declared in assembly.

use crate::call::FirstShot;
use crate::watch::Watching;
use std::arch::{asm, global_asm};
use std::cell::Cell;

global_asm!(
    ".pushsection .tbss.chaos_shim_thread,\"awT\",@nobits",
    ".balign 64",
    ".hidden chaos_shim_thread",
    ".globl chaos_shim_thread",
    ".type chaos_shim_thread,@object",
    ".size chaos_shim_thread,448",
    "chaos_shim_thread:",
    ".zero 448",
    ".popsection",
);

pub use chaos_table::lineage::ORDINAL_TEXT;

/// Rules that match a path, for the descriptor that will be opened by it.
#[derive(Clone, Copy, Default)]
pub struct Opening {
    /// The descriptor will have this very path.
    pub is_known: bool,
    /// Rules that match.
    pub matching: u64,
    /// Rules that would but for `protect`.
    pub protected: u64,
    /// Which rules there were then, see `fds::epoch`.
    pub epoch: u64,
}

/// The thread's own block; zero when the thread starts.
#[repr(C)]
pub struct Thread {
    /// The token: where the stack stood when our own code was entered on this thread; 0 outside.
    busy: Cell<usize>,
    /// Where the hooked call that came last was made from: its return address, stored by the entries in `real.rs`.
    pub caller: Cell<usize>,
    /// A vfork has been seen since the pid was last compared: what runs may be a vfork child.
    pub maybe_vfork: Cell<bool>,
    /// A rule has matched the call that is being timed, see `timing.rs`.
    pub matched: Cell<bool>,
    /// Length of `ordinal_text`.
    pub ordinal_len: Cell<u8>,
    /// Threads that this thread has created.
    pub threads: Cell<u32>,
    /// Processes that this thread has created, if it is not the main one; in a fork child that has not taken its place
    /// yet, which of its parent's children it is.
    pub children: Cell<u32>,
    /// The kernel's name of this thread, 0 when unknown.
    pub tid: Cell<u32>,
    /// Address of the thread's slot in the session; 0: none yet.
    pub slot: Cell<usize>,
    /// What was drawn ahead.
    pub lead: crate::ahead::Lead,
    /// Generation of the process for which `slot` was claimed.
    pub generation: Cell<u64>,
    /// In a fork child that has not taken its place yet: what its parent has reserved; NULL: nothing.
    pub reserved: Cell<*mut chaos_table::session::ProcessSlot>,
    /// The number of its image.
    pub reserved_uid: Cell<u32>,
    /// Hash of the thread's ordinal; 0 is the main thread.
    pub ordinal: Cell<u64>,
    /// Anchor of the clock, see `clock.rs`: TSC ...
    pub anchor_tsc: Cell<u64>,
    /// ... the ns that belong to it ...
    pub anchor_ns: Cell<u64>,
    /// ... and ns a tick, as a 32.32 fixed-point number.
    pub ns_per_tick: Cell<u64>,
    /// What `call::judge` found, until `call::deliver` takes it.
    pub first: FirstShot,
    /// By how much the mapping that is being put to the rules grows what is private and writable, plus one; 0: it is no
    /// mapping.
    pub growth: Cell<u64>,
    /// The write that is being put to the rules, for quotas of disk; NULL: none.
    pub claim: Cell<*const crate::disk::Claim>,
    /// Where this thread takes memory from at this moment; NULL: where everybody does.
    pub arena: Cell<*const crate::api::arena::Arena>,
    /// The rules that this thread has begun for itself and not ended.
    pub begun: Cell<Begun>,
    /// Places of the book that the success of the watched call that is being made would close, or that follow it.
    pub watched: Cell<u64>,
    /// That call.
    pub watching: Cell<Watching>,
    /// What the rules said of the path that is being opened.
    pub opening: Cell<Opening>,
    /// The ordinal as text, empty for the main thread.
    pub ordinal_text: Cell<[u8; ORDINAL_TEXT]>,
}

const _: () = assert!(size_of::<Thread>() <= 448);

/// Rules of one thread, the latest last.
#[derive(Clone, Copy)]
pub struct Begun {
    rules: [u8; Begun::ROOM],
    count: u8,
}

impl Begun {
    /// So many may be begun within each other.
    pub const ROOM: usize = 7;
    /// None.
    pub const NONE: Begun = Begun { rules: [0; Begun::ROOM], count: 0 };

    /// With one more; `None` when there is no room.
    pub fn with(mut self, rule: usize) -> Option<Begun> {
        // At most 60 rules.
        *self.rules.get_mut(usize::from(self.count))? = rule as u8;
        self.count += 1;
        Some(self)
    }

    /// The latest, and what is left without it.
    pub fn pop(mut self) -> Option<(usize, Begun)> {
        self.count = self.count.checked_sub(1)?;
        Some((usize::from(*self.rules.get(usize::from(self.count))?), self))
    }

    /// Whether there is room for one more.
    pub fn has_room(self) -> bool {
        usize::from(self.count) < Begun::ROOM
    }
}

impl Thread {
    /// Whether this thread is inside the shim, or was left behind there.
    #[inline(always)]
    pub fn is_inside(&self) -> bool {
        self.busy.get() != 0
    }
}

/// This thread's block.
#[inline(always)]
pub fn thread() -> &'static Thread {
    let at: *const Thread;
    // SAFETY: reads the thread pointer and a GOT entry; the block lies in the static TLS area, zeroed by the loader,
    // aligned, at least as large as `Thread`, and lives as long as the thread, which alone uses it.
    unsafe {
        asm!("mov {0}, qword ptr fs:[0]", "add {0}, qword ptr [rip + chaos_shim_thread@GOTTPOFF]", out(reg) at,
             options(nostack, pure, readonly, preserves_flags));
        &*at
    }
}

#[inline(always)]
fn stack_pointer() -> usize {
    let here;
    // SAFETY: reads a register.
    unsafe { asm!("mov {0}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    here
}

/// Whether the frame that entered at `entered` is gone: a signal handler jumped out of our code. A handler that interrupts
/// our code stands below it by more than its signal frame, unless it has another stack.
#[cold]
#[inline(never)]
fn was_left_behind(entered: usize, here: usize) -> bool {
    /// Less than the red zone and the smallest signal frame (1080 bytes), more than frames of hooks differ by.
    const SIGNAL_FRAME: usize = 768;
    here.saturating_add(SIGNAL_FRAME) > entered && !crate::sys::on_signal_stack()
}

/// Proof that this thread has entered the shim. No Drop, so that nothing has to unwind: give it back by [`Token::leave`].
#[must_use]
pub struct Token {
    /// The thread that entered.
    pub thread: &'static Thread,
}

impl Token {
    /// Enters, unless this thread is already inside (a hooked call made by our own code, or by a signal handler that
    /// interrupted it): then the call must pass.
    #[inline(always)]
    pub fn enter() -> Option<Token> {
        let thread = thread();
        let here = stack_pointer();
        if thread.busy.get() != 0 && !was_left_behind(thread.busy.get(), here) {
            return None;
        }
        thread.busy.set(here);
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        Some(Token { thread })
    }

    /// Enters a thread that is not inside, as [`Thread::is_inside`] has just said.
    #[inline(always)]
    pub fn enter_free(thread: &'static Thread) -> Token {
        thread.busy.set(stack_pointer());
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        Token { thread }
    }

    /// Stays inside beyond this function; [`Token::held`] takes up again.
    #[inline(always)]
    pub fn keep(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// The token that this thread has kept.
    #[inline(always)]
    pub fn held() -> Token {
        Token { thread: thread() }
    }

    /// Leaves.
    #[inline(always)]
    pub fn leave(self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        self.thread.busy.set(0);
    }
}

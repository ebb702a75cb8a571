//! Short texts without allocation.

use std::mem::MaybeUninit;

/// A short text without allocation.
///
/// The room is not cleared first: a path's four KB would cost more than most calls.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [MaybeUninit<u8>; N],
    len: usize,
}

/// So few bytes are copied here: libc's memcpy lies on a page that a fork child may not have yet.
const SHORT: usize = 16;

impl<const N: usize> Text<N> {
    /// Nothing.
    pub const EMPTY: Self = Text { bytes: [MaybeUninit::uninit(); N], len: 0 };

    /// As bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `push` has written the first `len` bytes, and `len` is at most N.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }

    /// Puts another byte in the place of the last.
    pub fn mark_cut(&mut self) {
        if let Some(last) = self.len.checked_sub(1).and_then(|at| self.bytes.get_mut(at)) {
            last.write(b'+');
        }
    }

    /// As an array, the rest zero.
    pub fn to_array(self) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.bytes()) {
            *to = *from;
        }
        array
    }

    /// Cuts it to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Replaces all by what `write` puts into the room: it says how much that is. False when it says nothing.
    pub fn fill(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        // SAFETY: the room is N bytes of ours; its old content is never read as a value before `len` covers it, and
        // the kernel, which `write` asks, only writes to it.
        let room = unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast::<u8>(), N) };
        let written = write(room).filter(|len| *len < N);
        self.len = written.unwrap_or(0);
        written.is_some()
    }

    /// Appends what fits; false when something was cut.
    pub fn push(&mut self, more: &[u8]) -> bool {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        let n = room.len().min(more.len());
        if n <= SHORT {
            for (to, from) in room.iter_mut().zip(more) {
                // SAFETY: a byte of our own. Volatile, lest it becomes a call again.
                unsafe { std::ptr::write_volatile(to, MaybeUninit::new(*from)) };
            }
        } else {
            // SAFETY: both are valid for `n` bytes; the room is ours alone.
            unsafe { std::ptr::copy_nonoverlapping(more.as_ptr(), room.as_mut_ptr().cast(), n) };
        }
        self.len += n;
        n == more.len()
    }

    /// Appends a number in decimal.
    pub fn push_number(&mut self, mut number: u64) -> bool {
        let mut digits = [0u8; 20];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        self.push(digits.get(20 - used..).unwrap_or(&[]))
    }
}

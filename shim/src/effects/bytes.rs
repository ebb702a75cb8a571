//! Data of a call where it lies: in the program's buffers, or in a copy of ours.

use chaos_table::change::Data;

/// The bytes to which a function points.
pub struct Bytes<'a>(&'a dyn Fn(usize) -> Option<*mut u8>);

impl<'a> Bytes<'a> {
    /// The bytes to which `at` points.
    ///
    /// # Safety
    /// Every pointer must be to a byte that the call may change: of a buffer that the real call has filled, or of our
    /// copy, which stays where it is meanwhile.
    pub unsafe fn new(at: &'a dyn Fn(usize) -> Option<*mut u8>) -> Bytes<'a> {
        Bytes(at)
    }
}

impl Data for Bytes<'_> {
    fn get(&self, at: usize) -> Option<u8> {
        // SAFETY: whoever made this says so.
        (self.0)(at).map(|byte| unsafe { *byte })
    }

    fn set(&mut self, at: usize, byte: u8) {
        if let Some(place) = (self.0)(at) {
            // SAFETY: as above.
            unsafe { *place = byte };
        }
    }
}

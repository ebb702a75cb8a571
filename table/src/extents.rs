//! Where the data of a file lies, as FS_IOC_FIEMAP tells it (linux/fs.h, linux/fiemap.h). Each engine makes the call in its
//! own way; the walk is the same.

/// The ioctl's number: `_IOWR('f', 11, struct fiemap)`.
pub const FS_IOC_FIEMAP: u64 = 0xc020_660b;

const AT_ONCE: usize = 16;
const LAST: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    more: [u32; 3],
}

/// The ioctl's argument: the range that is asked about, and room for the extents in it.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    room: u32,
    reserved: u32,
    extents: [Extent; AT_ONCE],
}

/// Tells the extents of a file between two offsets, those that are yet to be written included. `ask` makes the ioctl and
/// says whether it succeeded. False: the file system has no map of them.
pub fn walk(mut from: u64, to: u64, mut ask: impl FnMut(&mut Map) -> bool, mut tell: impl FnMut(u64, u64)) -> bool {
    while from < to {
        let mut map = Map { start: from, length: to - from, room: AT_ONCE as u32, ..Map::default() };
        if !ask(&mut map) {
            return false;
        }
        let found = map.extents.get(..map.mapped as usize).unwrap_or(&[]);
        let Some(last) = found.last() else { return true };
        for extent in found {
            tell(extent.logical.max(from), extent.logical.saturating_add(extent.length).min(to));
        }
        let end = last.logical.saturating_add(last.length);
        if last.flags & LAST != 0 || end <= from {
            return true;
        }
        from = end;
    }
    true
}

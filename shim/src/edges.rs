//! Which descriptors an epoll watches edge-triggered, and how to make it wake its program up again.
//!
//! Whoever takes less from such a descriptor than there is, or is told EAGAIN where there was something, waits for an
//! edge that will not come. Setting the same watch once more makes the kernel look again. A one-shot watch needs nothing:
//! its program sets it again itself.

use crate::sys;
use libc::epoll_event;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Descriptors above are not followed.
const REMEMBERED: usize = 4096;
/// Somebody is writing the entry.
const BUSY: u64 = 1 << 62;
/// Several epolls watch it, or one that cannot be set again: there is no help.
const LOST: u64 = 1 << 63;

/// One watch. The head holds the events in its lower half, the epoll's descriptor plus one above; 0: none.
struct Watch {
    head: AtomicU64,
    data: AtomicU64,
}

static WATCHES: [Watch; REMEMBERED] =
    [const { Watch { head: AtomicU64::new(0), data: AtomicU64::new(0) } }; REMEMBERED];
/// A descriptor that is not followed was watched by edges.
static BEYOND: AtomicBool = AtomicBool::new(false);

fn of(fd: i32) -> Option<&'static Watch> {
    usize::try_from(fd).ok().and_then(|fd| WATCHES.get(fd))
}

fn owner(epoll: i32) -> u64 {
    (epoll as u32 as u64 + 1) << 32 & !(BUSY | LOST)
}

/// Notes a successful epoll_ctl; `event` is `None` for EPOLL_CTL_DEL.
pub fn watched(epoll: i32, fd: i32, event: Option<epoll_event>) {
    let (events, data) = event.map_or((0, 0), |event| (event.events, event.u64));
    let by_edges = events & libc::EPOLLET as u32 != 0 && events & libc::EPOLLONESHOT as u32 == 0;
    let Some(watch) = of(fd) else {
        BEYOND.fetch_or(by_edges, Ordering::Relaxed);
        return;
    };
    let before = watch.head.load(Ordering::Relaxed);
    let is_ours = before & !(0xffff_ffff | BUSY | LOST) == owner(epoll);
    let head = match (by_edges, before) {
        (false, _) if !is_ours || before & LOST != 0 => return,
        (false, _) => 0,
        (true, 0) if events & libc::EPOLLEXCLUSIVE as u32 == 0 => owner(epoll) | u64::from(events),
        (true, _) if is_ours && before & LOST == 0 => owner(epoll) | u64::from(events),
        (true, _) => LOST,
    };
    watch.head.store(BUSY, Ordering::Relaxed);
    fence(Ordering::Release);
    watch.data.store(data, Ordering::Relaxed);
    watch.head.store(head, Ordering::Release);
}

/// The descriptor was closed, or is another thing now.
#[inline]
pub fn forget(fd: i32) {
    if let Some(watch) = of(fd)
        && watch.head.load(Ordering::Relaxed) != 0
    {
        watch.head.store(0, Ordering::Relaxed);
    }
}

/// Makes the epoll that watches a descriptor by edges, if one does, look at it again. False: a wake-up could be lost.
pub fn rearm(fd: i32) -> bool {
    let Some(watch) = of(fd) else { return !BEYOND.load(Ordering::Relaxed) };
    let head = watch.head.load(Ordering::Acquire);
    if head == 0 {
        return true;
    }
    let data = watch.data.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    if head & (BUSY | LOST) != 0 || watch.head.load(Ordering::Relaxed) != head {
        return false;
    }
    let epoll = (head >> 32) as i32 - 1;
    let is_set = sys::watch_again(epoll, fd, epoll_event { events: head as u32, u64: data });
    if !is_set {
        // The epoll is another now, or was duplicated: who watches cannot be told any more.
        watch.head.store(LOST, Ordering::Relaxed);
    }
    is_set
}

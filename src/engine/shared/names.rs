//! The addresses of names that rules care about, as the whole tree has learned them.

use super::Shared;
use chaos_table::decide::{HASH_START, hash_on};
use chaos_table::session::Name;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

const FREE: u64 = 0;
const TAKEN: u64 = 1;
const READY: u64 = 2;
/// So many places are looked at, as shims do.
const STEPS: usize = 64;

impl Shared {
    /// The host patterns that this address is known by, as bits.
    #[must_use]
    pub fn hosts_of(&self, address: &[u8; 16]) -> u64 {
        match self.name_at(address) {
            Some((at, READY)) => self.word64(at + offset_of!(Name, hosts)).load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Remembers that a name which matched host patterns has this address; nothing when there is no room.
    pub fn remember_name(&self, address: &[u8; 16], hosts: u64) {
        let Some((at, state)) = self.name_at(address) else { return };
        let word = self.word64(at + offset_of!(Name, state));
        if state == FREE {
            if word.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                return;
            }
            for (half, number) in halves(address).into_iter().enumerate() {
                self.word64(at + offset_of!(Name, address) + half * 8).store(number, Ordering::Relaxed);
            }
        }
        self.word64(at + offset_of!(Name, hosts)).fetch_or(hosts, Ordering::Relaxed);
        word.store(READY, Ordering::Release);
    }

    /// The place of an address, or the free place where it would go.
    fn name_at(&self, address: &[u8; 16]) -> Option<(usize, u64)> {
        let room = self.layout.name_room as usize;
        let hash = hash_on(HASH_START, address) as usize;
        (0..room.min(STEPS)).find_map(|step| {
            let place = hash.wrapping_add(step) & (room - 1);
            let at = self.layout.names as usize + place * size_of::<Name>();
            match self.word64(at + offset_of!(Name, state)).load(Ordering::Acquire) {
                FREE => Some((at, FREE)),
                READY if self.address_at(at) == halves(address) => Some((at, READY)),
                _ => None,
            }
        })
    }

    fn address_at(&self, at: usize) -> [u64; 2] {
        [0, 8].map(|half| self.word64(at + offset_of!(Name, address) + half).load(Ordering::Relaxed))
    }
}

fn halves(address: &[u8; 16]) -> [u64; 2] {
    bytemuck::cast(*address)
}

//! Threads that wait for each other: barriers of a block, collectives of a warp.

use std::ffi::c_void;

use super::block::{Block, Wait};
use super::hooks::{Collective, Place, text};

/// A barrier with threads waiting at it.
#[derive(Clone, Copy, Default)]
pub(super) struct Barrier {
    arrived: u32,
    /// One of those that wait, and how many it waits for.
    first: usize,
    threads: u32,
}

impl Block<'_> {
    /// Waits for `threads` threads at barrier `id`.
    pub fn barrier(&self, id: u32, threads: u32, place: Place) {
        let me = self.running.get();
        let whole = threads as usize == self.threads();
        let Some(cell) = self.barriers.get(id as usize) else {
            self.fail(format!("uses barrier {id} at {place}; a block has barriers 0 to 15"))
        };
        if threads == 0 || threads as usize > self.threads() || !(whole || threads.is_multiple_of(32)) {
            let all = self.threads();
            self.fail(format!("waits for {threads} threads at {place}; give whole warps of the block's {all} threads"))
        }
        let mut barrier = cell.get();
        if barrier.arrived == 0 {
            barrier = Barrier { arrived: 0, first: me, threads };
        }
        self.check_same_barrier(&barrier, threads, whole, place);
        barrier.arrived += 1;
        if barrier.arrived < threads {
            cell.set(barrier);
            return self.pause(Wait::Barrier { id, place });
        }
        cell.set(Barrier::default());
        for wait in &self.waits {
            if matches!(wait.get(), Wait::Barrier { id: other, .. } if other == id) {
                wait.set(Wait::Turn);
            }
        }
    }

    /// Threads meet at one line of the source and agree on their number.
    fn check_same_barrier(&self, barrier: &Barrier, threads: u32, whole: bool, place: Place) {
        let Wait::Barrier { place: other, .. } = self.waits[barrier.first].get() else { return };
        if barrier.threads != threads || whole && other != place {
            let (name, expected) = (self.name(barrier.first), barrier.threads);
            self.fail(format!(
                "comes to the barrier of {place} with {threads} threads, but {name} waits at that of {other} with {expected}"
            ))
        }
    }

    /// Waits for the lanes of `mask`; the last to come performs `collective` for all.
    pub fn meet(&self, collective: &'static Collective, mask: u32, lane: *mut c_void, place: Place) {
        let me = self.running.get();
        let (first, own) = (me - me % 32, me % 32);
        let here = || format!("{} at {place} with mask {mask:#010x}", collective.name());
        if mask >> own & 1 == 0 {
            self.fail(format!("calls {}, which leaves out its own lane {own}", here()))
        }
        self.lanes[me].set(lane);
        let meeting = Wait::Meeting { collective, mask, place };
        self.waits[me].set(meeting);
        let mut lanes = [std::ptr::null_mut(); 32];
        // From the top: in the natural order the first look already finds that the last lane is missing.
        for l in (0..32).rev().filter(|l| mask >> l & 1 == 1) {
            let thread = first + l;
            if thread >= self.threads() {
                self.fail(format!("calls {}, which names lane {l}; the block's last warp has none", here()))
            }
            match self.waits[thread].get() {
                Wait::Meeting { collective: other, mask: with, place: there }
                    if std::ptr::eq(other, collective) && with == mask && there == place =>
                {
                    lanes[l] = self.lanes[thread].get();
                }
                Wait::Meeting { .. } | Wait::Done => {
                    self.fail(format!("calls {}, but lane {l} ({}) {}", here(), self.name(thread), self.state(thread)))
                }
                Wait::Turn | Wait::Barrier { .. } | Wait::Until { .. } => return self.pause(meeting),
            }
        }
        let complaint = (collective.perform)(lanes.as_ptr(), mask);
        if !complaint.is_null() {
            self.fail(format!("{} at {place}: {}", collective.name(), text(complaint)))
        }
        for l in (0..32).filter(|l| mask >> l & 1 == 1) {
            self.waits[first + l].set(Wait::Turn);
        }
    }

    /// Why no thread can go on: one that waits, and what for.
    pub fn stuck(&self) -> (usize, String) {
        let waits = |t: &usize| !matches!(self.waits[*t].get(), Wait::Done | Wait::Turn);
        let Some(thread) = (0..self.threads()).find(waits) else { return (0, "the block does not move".into()) };
        let absent = match self.waits[thread].get() {
            Wait::Barrier { id, .. } => (0..self.threads())
                .find(|&t| !matches!(self.waits[t].get(), Wait::Barrier { id: other, .. } if other == id)),
            Wait::Meeting { mask, .. } => {
                let lanes = (0..32).filter(|l| mask >> l & 1 == 1).map(|l| thread - thread % 32 + l);
                lanes.into_iter().find(|&t| !matches!(self.waits[t].get(), Wait::Meeting { .. }))
            }
            _ => None,
        };
        let state = self.state(thread);
        let reason = match absent {
            Some(other) => format!("{state} for {}, which {}", self.name(other), self.state(other)),
            None => format!("{state}, and no thread of the block can bring it about any more"),
        };
        (thread, reason)
    }

    /// What a thread is doing, as the end of a sentence.
    fn state(&self, thread: usize) -> String {
        match self.waits[thread].get() {
            Wait::Turn => "runs".into(),
            Wait::Barrier { place, .. } => format!("waits at the barrier of {place}"),
            Wait::Meeting { collective, mask, place } => {
                format!("waits in {} at {place} with mask {mask:#010x}", collective.name())
            }
            Wait::Until { name, place, .. } => format!("waits for {name} at {place}"),
            Wait::Done => "has returned".into(),
        }
    }
}

//! Asynchronous copies (cp.async): read when issued, written then or at the wait.

use std::collections::VecDeque;
use std::mem;

use super::block::Block;

/// Bytes on their way to shared memory.
struct InFlight {
    to: *mut u8,
    data: [u8; 16],
    bytes: usize,
}

impl InFlight {
    fn land(&self) {
        // SAFETY: the kernel's own pointer; a wrong one meets a guard page and ends the fiber.
        unsafe { std::ptr::copy_nonoverlapping(self.data.as_ptr(), self.to, self.bytes) };
    }
}

/// One thread's copies.
#[derive(Default)]
pub(super) struct Copies {
    /// Since the last commit.
    open: Vec<InFlight>,
    groups: VecDeque<Vec<InFlight>>,
}

impl Block<'_> {
    /// Issues a copy. The seed decides whether it lands at once: a GPU may do either.
    pub fn async_copy(&self, to: *mut u8, data: [u8; 16], bytes: usize) {
        let copy = InFlight { to, data, bytes };
        if self.random.coin() {
            copy.land();
        } else {
            self.copies[self.running.get()].borrow_mut().open.push(copy);
        }
    }

    /// Closes the group of copies issued since the last one.
    pub fn async_commit(&self) {
        let mut copies = self.copies[self.running.get()].borrow_mut();
        let group = mem::take(&mut copies.open);
        copies.groups.push_back(group);
    }

    /// Lands the oldest groups until `left` remain.
    pub fn async_wait(&self, left: usize) {
        let copies = &self.copies[self.running.get()];
        loop {
            let mut waiting = copies.borrow_mut();
            if waiting.groups.len() <= left {
                return;
            }
            let group = waiting.groups.pop_front().unwrap_or_default();
            drop(waiting);
            group.iter().for_each(InFlight::land);
        }
    }
}

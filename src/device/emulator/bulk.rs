//! Bulk copies (TMA). A load is read when issued; its bytes come between then and the end of the phase
//! that waits for them. A store reads shared memory between its issue and the wait for its group.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem;

use super::block::Block;

/// Bytes on their way to shared memory.
struct Load {
    to: *mut u8,
    data: Vec<u8>,
    complete: extern "C" fn(barrier: *mut c_void, bytes: u32),
    barrier: *mut c_void,
}

impl Load {
    fn land(self) {
        // SAFETY: the kernel touched both ends of this memory and the barrier when it issued the copy.
        unsafe { std::ptr::copy_nonoverlapping(self.data.as_ptr(), self.to, self.data.len()) };
        (self.complete)(self.barrier, self.data.len() as u32);
    }
}

/// A copy from shared memory to an array whose bounds were checked.
struct Store {
    perform: extern "C" fn(state: *const c_void),
    /// A copy of what the kernel gave, in whole words for its alignment.
    state: Vec<u64>,
}

impl Store {
    fn land(self) {
        (self.perform)(self.state.as_ptr().cast());
    }
}

/// A block's loads.
#[derive(Default)]
pub(super) struct Loads(Vec<Load>);

/// One thread's stores.
#[derive(Default)]
pub(super) struct Stores {
    /// Since the last commit.
    open: Vec<Store>,
    groups: VecDeque<Vec<Store>>,
}

impl Block<'_> {
    /// Issues a load of `bytes` bytes, which `fill` reads now.
    pub fn bulk_load(
        &self,
        to: *mut u8,
        bytes: u32,
        fill: impl FnOnce(*mut u8),
        complete: extern "C" fn(*mut c_void, u32),
        barrier: *mut c_void,
    ) {
        let load = Load { to, data: vec![0; bytes as usize], complete, barrier };
        self.loads.borrow_mut().0.push(load);
        // Nothing is borrowed and nothing needs dropping while `fill` touches the kernel's memory.
        let data = self.loads.borrow_mut().0.last_mut().map_or(std::ptr::null_mut(), |load| load.data.as_mut_ptr());
        fill(data);
        if self.random.coin() {
            let load = self.loads.borrow_mut().0.pop();
            load.into_iter().for_each(Load::land);
        }
    }

    /// Lets some loads come; all of them if nothing else happens.
    pub fn land_loads(&self, all: bool) -> bool {
        let waiting = mem::take(&mut self.loads.borrow_mut().0);
        let before = waiting.len();
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|_| all || self.random.soon());
        now.into_iter().for_each(Load::land);
        let moved = later.len() < before;
        self.loads.borrow_mut().0 = later;
        moved
    }

    /// Issues a store. The seed decides whether it reads at once: a GPU may do either.
    pub fn bulk_store(&self, perform: extern "C" fn(*const c_void), state: Vec<u64>) {
        let store = Store { perform, state };
        if self.random.coin() {
            store.land();
        } else {
            self.stores[self.running.get()].borrow_mut().open.push(store);
        }
    }

    /// Closes the group of stores issued since the last one.
    pub fn bulk_commit(&self) {
        let mut stores = self.stores[self.running.get()].borrow_mut();
        let group = mem::take(&mut stores.open);
        stores.groups.push_back(group);
    }

    /// Performs the oldest groups until `left` remain.
    pub fn bulk_wait(&self, left: usize) {
        let mut stores = self.stores[self.running.get()].borrow_mut();
        while stores.groups.len() > left {
            stores.groups.pop_front().into_iter().flatten().for_each(Store::land);
        }
    }

    /// What is still under way when all threads have returned: the thread, and what it should have waited for.
    pub fn under_way(&self) -> Option<(usize, &'static str)> {
        if !self.loads.borrow().0.is_empty() {
            return Some((self.running.get(), "a bulk load is under way when the block ends; wait for its barrier"));
        }
        let unread = |stores: &Stores| !stores.open.is_empty() || stores.groups.iter().any(|group| !group.is_empty());
        let thread = self.stores.iter().position(|stores| unread(&stores.borrow()))?;
        Some((thread, "a bulk store still reads shared memory when the block ends; bulk_wait_read<0> before"))
    }
}

//! One block: its threads take turns until all have returned or none can go on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;

use super::bulk::{Loads, Stores};
use super::copies::Copies;
use super::fiber::{Fiber, Pause, STACK_BYTES, Turn};
use super::hooks::{Collective, Entered, Place};
use super::kernel::Emulated;
use super::meeting::Barrier;
use super::memory::{self, Guarded};
use super::trap::Trap;
use super::turns::{Stream, Turns};
use crate::device::Launch;
use crate::error::{Error, Result};

/// A buffer among a launch's arguments.
pub(super) struct Argument<'a> {
    pub index: usize,
    pub memory: &'a Guarded,
}

/// What all blocks of a launch share.
pub(super) struct Grid<'a> {
    pub kernel: &'a Emulated,
    pub launch: &'a Launch,
    /// Pointers to the parameters, as cuLaunchKernel takes them.
    pub arguments: &'a [*mut c_void],
    pub buffers: Vec<Argument<'a>>,
    pub turns: &'a Turns,
}

// SAFETY: the pointers lead to parameters that are only read while the launch borrows them.
unsafe impl Sync for Grid<'_> {}

/// Who a thread is; `emulator::Identity` in C++.
#[repr(C)]
pub(super) struct Identity {
    thread: [u32; 3],
    block: [u32; 3],
    block_size: [u32; 3],
    grid_size: [u32; 3],
    lane: u32,
}

/// What a thread waits for.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    /// Its turn.
    Turn,
    /// The other threads of a barrier.
    Barrier { id: u32, place: Place },
    /// The other lanes of a collective.
    Meeting { collective: &'static Collective, mask: u32, place: Place },
    /// A condition on memory.
    Until { ready: extern "C" fn(*const c_void) -> bool, state: *const c_void, name: &'static str, place: Place },
    /// Nothing any more: it has returned.
    Done,
}

/// The state of a running block. Its fibers reach it through hooks, one at a time.
pub(super) struct Block<'a> {
    grid: &'a Grid<'a>,
    identities: Vec<Identity>,
    pub waits: Vec<Cell<Wait>>,
    /// What each thread brought to a collective.
    pub lanes: Vec<Cell<*mut c_void>>,
    pauses: Vec<Cell<*const Pause>>,
    /// The thread whose turn it is.
    pub running: Cell<usize>,
    pub barriers: [Cell<Barrier>; 16],
    failure: Cell<Option<String>>,
    pub copies: Vec<RefCell<Copies>>,
    pub loads: RefCell<Loads>,
    pub stores: Vec<RefCell<Stores>>,
    pub random: Stream,
    shared: RefCell<Vec<(usize, Rc<Guarded>)>>,
}

thread_local! {
    /// Shared memory by key and size, kept from block to block.
    static SHARED: RefCell<HashMap<(usize, usize), Rc<Guarded>>> = RefCell::new(HashMap::new());
}

/// Threads of a warp.
const WARP: usize = 32;

/// The key of dynamic shared memory: no static object lies there.
const DYNAMIC: usize = 0;

/// Runs block `index` of the grid to its end.
pub(super) fn run(grid: &Grid<'_>, index: u32) -> Result<()> {
    let block = Block::new(grid, index);
    let _entered = Entered::new(&block);
    let mut fibers = block.fibers()?;
    let mut order = block.random.order(fibers.len());
    let mut left = fibers.len();
    // Rounds for which each warp rests, so that the others get ahead of it: as far as barriers allow.
    let mut rests = vec![0; fibers.len().div_ceil(WARP)];
    while left > 0 {
        let mut moved = block.land_loads(false);
        rests.iter_mut().for_each(|rest| *rest = block.random.rest(*rest));
        for &thread in &order {
            let thread = thread as usize;
            if rests[thread / WARP] > 0 || !block.can_go_on(thread) {
                continue;
            }
            moved = true;
            block.running.set(thread);
            match fibers[thread].resume() {
                Turn::Waits => {}
                Turn::Done => {
                    block.waits[thread].set(Wait::Done);
                    left -= 1;
                }
                Turn::Trapped(trap) => return Err(block.trapped(thread, trap)),
            }
            if let Some(reason) = block.failure.take() {
                return Err(block.error(thread, reason));
            }
            block.check_slack(thread, Guarded::written_behind)?;
        }
        if !moved && rests.iter().all(|&rest| rest == 0) && !block.land_loads(true) {
            let (thread, reason) = block.stuck();
            return Err(block.error(thread, reason));
        }
        if !moved {
            // All that could go on rest: time passes at once.
            let least = rests.iter().copied().filter(|&rest| rest > 0).min().unwrap_or(0);
            rests.iter_mut().for_each(|rest| *rest -= least.min(*rest));
        }
        block.random.shuffle(&mut order);
    }
    if let Some((thread, reason)) = block.under_way() {
        return Err(block.error(thread, reason.into()));
    }
    block.check_slack(block.running.get(), Guarded::written_before)
}

impl<'a> Block<'a> {
    fn new(grid: &'a Grid<'a>, index: u32) -> Self {
        let [bx, by, bz] = grid.launch.block;
        let [gx, gy, _] = grid.launch.grid;
        let block = [index % gx, index / gx % gy, index / gx / gy];
        let threads = bx * by * bz;
        let identity = |t: u32| Identity {
            thread: [t % bx, t / bx % by, t / bx / by],
            block,
            block_size: grid.launch.block,
            grid_size: grid.launch.grid,
            lane: t % 32,
        };
        Block {
            grid,
            identities: (0..threads).map(identity).collect(),
            waits: (0..threads).map(|_| Cell::new(Wait::Turn)).collect(),
            lanes: (0..threads).map(|_| Cell::new(std::ptr::null_mut())).collect(),
            pauses: (0..threads).map(|_| Cell::new(std::ptr::null())).collect(),
            running: Cell::new(0),
            barriers: Default::default(),
            failure: Cell::new(None),
            copies: (0..threads).map(|_| RefCell::default()).collect(),
            loads: RefCell::default(),
            stores: (0..threads).map(|_| RefCell::default()).collect(),
            random: grid.turns.stream(u64::from(index)),
            shared: RefCell::default(),
        }
    }

    fn fibers(&self) -> Result<Vec<Fiber>> {
        let run = self.grid.kernel.entry.run;
        let body = |thread: usize| {
            move |pause: &Pause| {
                self.pauses[thread].set(pause);
                // SAFETY: the arguments were compared with the kernel's parameters; what the kernel
                // does with its pointers is what guard pages and traps are for.
                unsafe { run(self.grid.arguments.as_ptr()) }
            }
        };
        // SAFETY: `run` drops the fibers before the block; C++ frames have no destructors here
        // (no exceptions, plain data), and hooks pause holding nothing.
        let fiber = |thread| unsafe { Fiber::new(body(thread)) };
        (0..self.identities.len())
            .map(fiber)
            .collect::<std::io::Result<_>>()
            .map_err(|e| self.error(0, format!("cannot allocate its stack: {e}")))
    }

    pub fn threads(&self) -> usize {
        self.identities.len()
    }

    /// Who the running thread is.
    pub fn identity(&self) -> *const Identity {
        &self.identities[self.running.get()]
    }

    fn can_go_on(&self, thread: usize) -> bool {
        match self.waits[thread].get() {
            Wait::Turn => true,
            Wait::Until { ready, state, .. } => {
                let ready = ready(state);
                if ready {
                    self.waits[thread].set(Wait::Turn);
                }
                ready
            }
            Wait::Barrier { .. } | Wait::Meeting { .. } | Wait::Done => false,
        }
    }

    /// Gives up the turn until someone sets this thread's wait to `Turn`.
    pub fn pause(&self, wait: Wait) {
        let thread = self.running.get();
        self.waits[thread].set(wait);
        // SAFETY: set when the fiber started, and it is this fiber that runs.
        unsafe { &*self.pauses[thread].get() }.suspend(());
    }

    /// Ends the block with a message about the running thread.
    pub fn fail(&self, reason: String) -> ! {
        self.failure.set(Some(reason));
        loop {
            self.pause(Wait::Done);
        }
    }

    /// The block's dynamic shared memory.
    pub fn dynamic_shared(&self) -> *mut c_void {
        self.shared(DYNAMIC, self.grid.launch.shared)
    }

    /// The block's shared memory for `key`, unwritten at its first use in a block.
    pub fn shared(&self, key: usize, bytes: usize) -> *mut c_void {
        let found = self.shared.borrow().iter().find(|(k, _)| *k == key).map(|(_, memory)| memory.address());
        let address = found.or_else(|| {
            let memory = SHARED.with_borrow_mut(|kept| match kept.get(&(key, bytes)) {
                Some(memory) => Some(memory.clone()),
                None => {
                    let memory = Rc::new(Guarded::new(bytes).ok()?);
                    kept.insert((key, bytes), memory.clone());
                    Some(memory)
                }
            })?;
            memory.forget();
            let address = memory.address();
            self.shared.borrow_mut().push((key, memory));
            Some(address)
        });
        match address {
            Some(address) => address as *mut c_void,
            None => self.fail(format!("cannot allocate {bytes} bytes of shared memory")),
        }
    }

    /// An error about `thread`.
    fn error(&self, thread: usize, reason: String) -> Error {
        let Identity { thread: [x, y, z], block: [bx, by, bz], .. } = self.identities[thread];
        let kernel = self.grid.kernel.name.into();
        Error::Kernel { kernel, block: (bx, by, bz), thread: (x, y, z), reason }
    }

    /// "thread (x, y, z)".
    pub fn name(&self, thread: usize) -> String {
        let [x, y, z] = self.identities[thread].thread;
        format!("thread ({x}, {y}, {z})")
    }

    /// Looks for writes next to the launch's buffers and the block's shared memory.
    fn check_slack(&self, thread: usize, written: fn(&Guarded) -> Option<isize>) -> Result<()> {
        for Argument { index, memory } in &self.grid.buffers {
            if let Some(offset) = written(memory) {
                memory.clean_slack();
                let place = beside(offset, memory.bytes());
                let reason = format!(
                    "this thread, or one that ran at the same time, wrote {place} of argument {index} ({} bytes)",
                    memory.bytes()
                );
                return Err(self.error(thread, reason));
            }
        }
        for (_, memory) in &*self.shared.borrow() {
            if let Some(offset) = written(memory) {
                memory.clean_slack();
                let place = beside(offset, memory.bytes());
                let reason = format!("wrote {place} of shared memory ({} bytes)", memory.bytes());
                return Err(self.error(thread, reason));
            }
        }
        Ok(())
    }

    /// What a fault of `thread` was about.
    fn trapped(&self, thread: usize, trap: Trap) -> Error {
        let Trap { signal, address, on_stack } = trap;
        let reason = match signal {
            _ if on_stack => format!("its local arrays need more than the {STACK_BYTES} bytes of a fiber's stack"),
            libc::SIGFPE => "an integer division by 0".to_owned(),
            libc::SIGILL => "an instruction that this processor does not have".to_owned(),
            _ => self.where_is(address),
        };
        self.error(thread, reason)
    }

    fn where_is(&self, address: usize) -> String {
        for Argument { index, memory } in &self.grid.buffers {
            if let Some(offset) = memory.offset_of(address) {
                let place = beside(offset, memory.bytes());
                return format!("accessed {place} of argument {index} ({} bytes)", memory.bytes());
            }
        }
        for (_, memory) in &*self.shared.borrow() {
            if let Some(offset) = memory.offset_of(address) {
                let place = beside(offset, memory.bytes());
                return format!("accessed {place} of shared memory ({} bytes)", memory.bytes());
            }
        }
        match memory::find(address) {
            Some((offset, bytes)) => {
                format!("accessed {} of a buffer ({bytes} bytes) that is no argument", beside(offset, bytes))
            }
            None => format!("accessed address {address:#x}, where there is no memory of this device"),
        }
    }
}

/// "4 bytes past the end", "12 bytes before the start".
fn beside(offset: isize, bytes: usize) -> String {
    if offset < 0 {
        format!("{} bytes before the start", -offset)
    } else {
        format!("byte {offset}, {} past the last,", offset - bytes as isize + 1)
    }
}

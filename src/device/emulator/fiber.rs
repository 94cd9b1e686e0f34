//! Stacks and switches: a thin layer over corosensei.

use std::cell::RefCell;
use std::io;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::trap::{self, Trap};

/// A kernel's own arrays live here; a frame beyond it meets a guard page.
pub(super) const STACK_BYTES: usize = 128 * 1024;

thread_local! {
    /// Stacks that wait for the next block of this thread.
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(vec![]) };
}

/// One emulated thread.
pub(super) struct Fiber {
    routine: Option<Coroutine<(), (), Option<Trap>, DefaultStack>>,
}

/// Why a fiber came back.
pub(super) enum Turn {
    /// It waits for something.
    Waits,
    /// The kernel returned.
    Done,
    /// The processor stopped it.
    Trapped(Trap),
}

/// What a fiber calls to give up its turn.
pub(super) type Pause = Yielder<(), ()>;

impl Fiber {
    /// A fiber that will run `body` on a stack of this thread's pool.
    ///
    /// # Safety
    /// What `body` borrows must outlive the fiber, and nothing on its stack may need
    /// dropping when it pauses: a fiber that never ends is cut off.
    pub unsafe fn new(body: impl FnOnce(&Pause)) -> io::Result<Self> {
        let stack = match STACKS.with_borrow_mut(Vec::pop) {
            Some(stack) => stack,
            None => DefaultStack::new(STACK_BYTES)?,
        };
        // SAFETY: the caller's promise.
        let routine = unsafe {
            Coroutine::with_stack_unchecked(stack, move |pause: &Pause, ()| {
                body(pause);
                None
            })
        };
        Ok(Fiber { routine: Some(routine) })
    }

    /// Runs it until it pauses, ends or is stopped.
    pub fn resume(&mut self) -> Turn {
        let Some(routine) = &mut self.routine else { return Turn::Done };
        let _armed = trap::arm(routine.trap_handler());
        match routine.resume(()) {
            CoroutineResult::Yield(()) => Turn::Waits,
            CoroutineResult::Return(None) => Turn::Done,
            CoroutineResult::Return(Some(trap)) => Turn::Trapped(trap),
        }
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        let Some(mut routine) = self.routine.take() else { return };
        // SAFETY: `new`'s caller promised that nothing on the stack needs dropping.
        unsafe { routine.force_reset() };
        STACKS.with_borrow_mut(|stacks| stacks.push(routine.into_stack()));
    }
}

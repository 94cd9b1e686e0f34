//! Recorded work: what was asked for, to be done later, again and again.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kernel::Emulated;
use super::memory::Guarded;
use crate::device::Launch;

/// Work of the emulator, in order.
pub struct Graph(pub(super) Vec<Step>);

/// One thing to do.
pub(super) enum Step {
    Launch {
        kernel: Emulated,
        launch: Launch,
        arguments: Arguments,
    },
    /// Of bytes of one buffer to another, from a place on.
    Copy {
        from: Arc<Guarded>,
        range: Range<usize>,
        to: Arc<Guarded>,
        offset: usize,
    },
    Fill {
        to: Arc<Guarded>,
        range: Range<usize>,
        value: u8,
    },
}

/// A launch's arguments, on their own.
pub(super) struct Arguments {
    /// One word an argument; a struct's is not used.
    pub words: Vec<u64>,
    /// The bytes of those that are structs, in whole words for their alignment.
    pub structs: Vec<Option<Vec<u64>>>,
    /// Those that are buffers.
    pub buffers: Vec<(usize, Arc<Guarded>)>,
}

/// The work that is being recorded; `None` while nothing is.
#[derive(Default)]
pub(super) struct Recording(Mutex<Option<Vec<Step>>>);

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Step>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_on(&self) -> bool {
        self.lock().is_some()
    }

    pub fn begin(&self) {
        *self.lock() = Some(vec![]);
    }

    pub fn end(&self) -> Graph {
        Graph(self.lock().take().unwrap_or_default())
    }

    /// Writes `step` down, or gives it back to be done at once.
    pub fn take(&self, step: Step) -> Option<Step> {
        match self.lock().as_mut() {
            Some(steps) => {
                steps.push(step);
                None
            }
            None => Some(step),
        }
    }
}

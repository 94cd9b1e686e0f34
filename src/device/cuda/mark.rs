//! Places in a stream's work, to wait for and to measure times between.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use crate::error::Result;

/// A place in a stream's work.
pub struct Mark {
    context: Arc<Context>,
    event: sys::CUevent,
}

// SAFETY: an event may be used from any thread.
unsafe impl Send for Mark {}

impl Mark {
    /// One without a time, which is quicker.
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        Mark::with(context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    pub(super) fn timed(context: &Arc<Context>) -> Result<Self> {
        Mark::with(context, sys::CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn with(context: &Arc<Context>, flags: sys::CUevent_flags) -> Result<Self> {
        context.enter()?;
        let event = result::event::create(flags).map_err(|e| context.refused("make an event", e))?;
        Ok(Mark { context: context.clone(), event })
    }

    /// Marks the place behind all that `stream` was asked for.
    pub(super) fn set(&self, stream: sys::CUstream) -> Result<()> {
        self.context.enter()?;
        // SAFETY: both are alive.
        unsafe { result::event::record(self.event, stream) }.map_err(|e| self.context.refused("mark a place", e))
    }

    /// What `stream` is asked for later begins when the mark has passed.
    pub(super) fn hold(&self, stream: sys::CUstream) -> Result<()> {
        self.context.enter()?;
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both are alive.
        unsafe { result::stream::wait_event(stream, self.event, flags) }
            .map_err(|e| self.context.refused("order two streams", e))
    }

    /// Waits until the mark has passed.
    pub(super) fn wait(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.event) }.map_err(|e| self.context.refused("wait for a copy", e))
    }

    /// Seconds since `start`, both timed; waits until this one has passed.
    pub(super) fn seconds_since(&self, start: &Mark) -> Result<f64> {
        self.wait()?;
        // SAFETY: both are alive, timed, of one stream, and have passed.
        let milliseconds = unsafe { result::event::elapsed(start.event, self.event) };
        milliseconds.map(|ms| f64::from(ms) / 1e3).map_err(|e| self.context.refused("tell the time between events", e))
    }

    pub(super) fn has_passed(&self) -> bool {
        // SAFETY: the event is alive.
        unsafe { result::event::query(self.event) }.is_ok()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made in `new`, destroyed once.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}

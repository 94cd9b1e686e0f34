//! Recorded work: a stream's calls, captured by the driver.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result;
use cudarc::driver::sys;

use super::context::Context;
use super::memory::Allocation;
use crate::error::{Error, Result};

/// Work that the driver starts with one call.
pub struct Graph {
    context: Arc<Context>,
    graph: sys::CUgraph,
    runs: sys::CUgraphExec,
    /// The memory that it works on.
    _memory: Vec<Arc<Allocation>>,
}

// SAFETY: the handles may be used from any thread.
unsafe impl Send for Graph {}

/// The memory of the work that is being recorded; `None` while nothing is.
#[derive(Default)]
pub(super) struct Recording(Mutex<Option<Vec<Arc<Allocation>>>>);

impl Recording {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Arc<Allocation>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, context: &Context, stream: sys::CUstream) -> Result<()> {
        context.enter()?;
        // Relaxed: other threads allocate and copy meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is alive.
        unsafe { result::stream::begin_capture(stream, mode) }.map_err(|e| context.refused("begin to record", e))?;
        *self.lock() = Some(vec![]);
        Ok(())
    }

    pub fn end(&self, context: &Arc<Context>, stream: sys::CUstream) -> Result<Graph> {
        context.enter()?;
        let memory = self.lock().take().unwrap_or_default();
        // SAFETY: the stream is alive.
        let graph = unsafe { result::stream::end_capture(stream) }.map_err(|e| context.refused("end a record", e))?;
        // SAFETY: the graph was just made.
        let runs = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) }.map_err(|e| {
            // SAFETY: the graph was just made, and nobody has it.
            let _ = unsafe { result::graph::destroy(graph) };
            context.refused("make a record ready to run", e)
        })?;
        Ok(Graph { context: context.clone(), graph, runs, _memory: memory })
    }

    /// Keeps `memory` with the work that is being recorded, if any is.
    pub fn keep<'a>(&self, memory: impl IntoIterator<Item = &'a Arc<Allocation>>) {
        if let Some(kept) = self.lock().as_mut() {
            kept.extend(memory.into_iter().cloned());
        }
    }

    /// Copies from and to the host would read and write memory that is gone when the record runs.
    pub fn refuse(&self, context: &Context, verb: &str) -> Result<()> {
        match *self.lock() {
            Some(_) => Err(Error::device(&context.name, format!("cannot {verb} while work is being recorded"))),
            None => Ok(()),
        }
    }
}

impl Graph {
    pub(super) fn replay(&self, stream: sys::CUstream) -> Result<()> {
        self.context.enter()?;
        // SAFETY: both are alive.
        unsafe { result::graph::launch(self.runs, stream) }.map_err(|e| self.context.refused("run recorded work", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: made in `end`, destroyed once; the driver finishes a run under way first.
            let _ = unsafe { (result::graph::exec_destroy(self.runs), result::graph::destroy(self.graph)) };
        }
    }
}

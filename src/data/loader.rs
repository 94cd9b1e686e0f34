//! Batches, filled ahead of time by background threads.
//!
//! What batch `b` holds is a pure function of the order's description and `b`:
//! threads only decide who fills it. They claim batches in turn, fill them in
//! parallel, and the consumer takes them in order from a ring, so the sequence
//! is the same for any number of threads, and a run can start at any
//! (epoch, step). Buffers that the consumer gives back are filled again:
//! once the ring has filled up nothing is allocated.

use std::collections::VecDeque;
use std::ops::DerefMut;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::data::augment::{Cropper, Crops};
use crate::data::packed::{Dataset, Split, presence};
use crate::data::permutation::Permutation;
use crate::device::HostMemory;
use crate::error::{Error, Result};
use crate::philox::{Purpose, Stream};

/// Where batches come from: images by index. [`Dataset`] splits are the usual one.
pub trait Source: Send + Sync + 'static {
    /// Number of images.
    fn images(&self) -> usize;

    /// Side S of the square records, in pixels.
    fn size(&self) -> usize;

    /// Copies the pixels of image `i` and gives its label.
    fn read(
        &self,
        i: usize,
        record: &mut [u8], // (S, S, 3)
    ) -> Result<usize>;

    /// For an image that shows several classes, the one to learn this time: as
    /// likely as each other one if `word` is uniform. None where there is but
    /// the one that [`Source::read`] gives.
    fn draw_label(&self, _i: usize, _word: u32) -> Option<usize> {
        None
    }
}

/// One split of a shared data set as a [`Source`].
#[derive(Clone, Debug)]
pub struct SplitSource {
    dataset: Arc<Dataset>,
    split: Split,
}

impl SplitSource {
    /// The images of `split`.
    pub fn new(dataset: &Arc<Dataset>, split: Split) -> Self {
        SplitSource { dataset: Arc::clone(dataset), split }
    }
}

impl Source for SplitSource {
    fn images(&self) -> usize {
        self.dataset.split(self.split).len()
    }

    fn size(&self) -> usize {
        self.dataset.size()
    }

    fn read(&self, i: usize, record: &mut [u8]) -> Result<usize> {
        let records = self.dataset.split(self.split);
        record.copy_from_slice(records.record(i));
        Ok(records.label(i))
    }

    fn draw_label(&self, i: usize, word: u32) -> Option<usize> {
        presence::draw(self.dataset.split(self.split).presence(i)?, word)
    }
}

/// In which order a split is read, and through which windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Epoch after epoch without end, each in a new order, through random
    /// windows. Every batch is full: the images that are left over at an
    /// epoch's end sit that epoch out. A split smaller than a batch gives one
    /// batch of all its images an epoch.
    Train {
        /// Keys the order and the windows.
        seed: u64,
        /// How windows are drawn.
        crops: Crops,
        /// First epoch to read, counted from 0.
        epoch: u64,
        /// First step of that epoch, counted from 0.
        step: u64,
    },
    /// Once from the first image to the last, through the centre window. The
    /// last batch holds what remains.
    Sequential,
}

/// N images on their way to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<M = Vec<u8>> {
    /// Records: (batch, S, S, 3), of which the first N are these images.
    pub images: M,
    /// Top, left, 1 if flipped: (N, 3).
    pub windows: Vec<i32>,
    /// Classes: (N). Of an image that shows several, training draws one anew each epoch.
    pub labels: Vec<i32>,
    /// Which images of the split these are: (N).
    pub indices: Vec<usize>,
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Step within the epoch, counted from 0.
    pub step: u64,
    /// Bytes of a record.
    record: usize,
}

impl<M: DerefMut<Target = [u8]>> Batch<M> {
    /// An empty batch with room for `images`.
    fn new(images: M, record: usize) -> Self {
        Batch { images, windows: vec![], labels: vec![], indices: vec![], epoch: 0, step: 0, record }
    }

    /// The records of its images: (N, S, S, 3).
    pub fn records(&self) -> &[u8] {
        &self.images[..self.len() * self.record]
    }
}

impl<M> Batch<M> {
    /// The memory of its records, and the rest.
    pub fn take_memory(self) -> (M, Batch<()>) {
        let Batch { images, windows, labels, indices, epoch, step, record } = self;
        (images, Batch { images: (), windows, labels, indices, epoch, step, record })
    }

    /// The same with other memory for its records: what [`Batch::take_memory`] took.
    pub fn with_memory<O>(self, images: O) -> Batch<O> {
        let Batch { images: _, windows, labels, indices, epoch, step, record } = self;
        Batch { images, windows, labels, indices, epoch, step, record }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True if it holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Fills batches in the background. Dropping it stops its threads.
pub struct Loader<M = Vec<u8>> {
    shared: Arc<Shared<M>>,
    threads: Vec<JoinHandle<()>>,
    steps_per_epoch: u64,
}

impl Loader {
    /// Batches of `batch` images of `source`, cut to `H` x `W`, filled by
    /// `threads` threads (at least one).
    pub fn new(source: impl Source, order: Order, batch: usize, size: (usize, usize), threads: usize) -> Result<Self> {
        Loader::with_memory(source, order, batch, size, threads, Arc::new(|bytes| Ok(vec![0; bytes])))
    }
}

impl<M: DerefMut<Target = [u8]> + Send + 'static> Loader<M> {
    /// The same, with records read into memory that `memory` allocates: such as a device reads by itself.
    pub fn with_memory(
        source: impl Source,
        order: Order,
        batch: usize,
        (H, W): (usize, usize),
        threads: usize,
        memory: HostMemory<M>,
    ) -> Result<Self> {
        let plan = Plan::new(Box::new(source), order, batch, H, W)?;
        let steps_per_epoch = plan.steps_per_epoch;
        let threads = threads.max(1);
        let state = State {
            claimed: plan.first,
            taken: plan.first,
            // One batch a thread in the making, and two waiting.
            ring: (0..threads + 2).map(|_| None).collect(),
            free: Vec::new(),
            stop: false,
        };
        let (work, ready) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { plan, memory, state: Mutex::new(state), work, ready });
        let mut loader = Loader { shared, threads: Vec::new(), steps_per_epoch };
        for i in 0..threads {
            let shared = Arc::clone(&loader.shared);
            let thread = thread::Builder::new().name(format!("loader-{i}")).spawn(move || shared.fill_batches());
            loader.threads.push(thread.map_err(|e| Error::Usage(format!("cannot start a loader thread: {e}")))?);
        }
        Ok(loader)
    }

    /// The next batch, or `None` behind the last one of [`Order::Sequential`].
    /// An error of a worker comes up at its batch's turn; nothing follows it.
    pub fn next_batch(&mut self) -> Result<Option<Batch<M>>> {
        let mut state = self.shared.lock();
        loop {
            if self.shared.plan.end.is_some_and(|end| state.taken >= end) {
                return Ok(None);
            }
            if state.stop {
                return Err(Error::Usage("the loader has stopped after an earlier error".into()));
            }
            let slot = state.slot(state.taken);
            match state.ring[slot].take() {
                Some(Ok(batch)) => {
                    state.taken += 1;
                    self.shared.work.notify_one();
                    return Ok(Some(batch));
                }
                Some(Err(error)) => {
                    state.stop = true;
                    self.shared.work.notify_all();
                    return Err(error);
                }
                None => state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Gives a batch's buffers back, to be filled again.
    pub fn recycle(&mut self, batch: Batch<M>) {
        self.shared.lock().free.push(batch);
    }
}

impl<M> Loader<M> {
    /// Batches in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }
}

impl<M> Drop for Loader<M> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A worker that panicked has handed on an error already.
            let _ = thread.join();
        }
    }
}

/// What batch `b` holds.
struct Plan {
    source: Box<dyn Source>,
    order: Order,
    cropper: Cropper,
    batch: usize,
    steps_per_epoch: u64,
    first: u64,
    /// Number of batches, if there is an end.
    end: Option<u64>,
}

impl Plan {
    fn new(source: Box<dyn Source>, order: Order, batch: usize, H: usize, W: usize) -> Result<Self> {
        let images = source.images();
        if images == 0 || batch == 0 {
            return Err(Error::Usage(format!("cannot make batches of {batch} from a split of {images} images")));
        }
        let cropper = Cropper::new(source.size(), H, W)?;
        let batch = batch.min(images);
        let (steps_per_epoch, first, end) = match order {
            Order::Train { epoch, step, .. } => {
                let steps = (images / batch) as u64;
                (steps, epoch * steps + step, None)
            }
            Order::Sequential => {
                let steps = images.div_ceil(batch) as u64;
                (steps, 0, Some(steps))
            }
        };
        Ok(Plan { source, order, cropper, batch, steps_per_epoch, first, end })
    }

    /// Bytes of a record.
    fn record(&self) -> usize {
        self.source.size().pow(2) * 3
    }

    /// The class to learn from image `index` in this epoch, where it shows several.
    fn drawn(&self, epoch: u64, index: usize) -> Option<usize> {
        let Order::Train { seed, .. } = self.order else { return None };
        let word = Stream::new(seed, Purpose::Augment, LABEL_LANE).word(epoch, index as u64);
        self.source.draw_label(index, word)
    }

    /// Fills batch `b` into `out`, which was used before or is new.
    fn fill<M: DerefMut<Target = [u8]>>(&self, b: u64, out: &mut Batch<M>) -> Result<()> {
        let (images, record) = (self.source.images(), self.record());
        (out.epoch, out.step) = (b / self.steps_per_epoch, b % self.steps_per_epoch);
        let start = out.step as usize * self.batch;
        let N = self.batch.min(images - start);
        out.windows.clear();
        out.labels.clear();
        out.indices.clear();
        let permutation = match self.order {
            Order::Train { seed, .. } => Some(Permutation::new(seed, out.epoch, images)),
            Order::Sequential => None,
        };
        for (position, pixels) in (start..start + N).zip(out.images.chunks_exact_mut(record)) {
            let index = permutation.as_ref().map_or(position, |permutation| permutation.at(position));
            let window = match self.order {
                Order::Train { seed, crops, .. } => self.cropper.draw(seed, crops, out.epoch, position as u64),
                Order::Sequential => self.cropper.centre(),
            };
            let label = self.source.read(index, pixels)?;
            out.labels.push(self.drawn(out.epoch, index).unwrap_or(label) as i32);
            out.windows.extend(window.to_ints());
            out.indices.push(index);
        }
        Ok(())
    }
}

/// Tells the draws of labels from those of windows ([`Purpose::Augment`], lane 0).
const LABEL_LANE: u32 = 1;

/// What the consumer and the workers share.
struct Shared<M> {
    plan: Plan,
    memory: HostMemory<M>,
    state: Mutex<State<M>>,
    /// Signals the workers: there is room, or it is time to stop.
    work: Condvar,
    /// Signals the consumer: a batch is ready.
    ready: Condvar,
}

struct State<M> {
    /// Batches below this one have been claimed by a worker.
    claimed: u64,
    /// Batches below this one have gone to the consumer.
    taken: u64,
    /// Batch b waits in place b % len.
    ring: VecDeque<Option<Result<Batch<M>>>>,
    /// Buffers to fill.
    free: Vec<Batch<M>>,
    stop: bool,
}

impl<M> State<M> {
    fn slot(&self, b: u64) -> usize {
        (b % self.ring.len() as u64) as usize
    }
}

impl<M> Shared<M> {
    /// A panic of another thread leaves the state whole: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room in the ring and takes the next batch's number, with a buffer.
    fn claim(&self) -> Option<(u64, Option<Batch<M>>)> {
        let mut state = self.lock();
        loop {
            if state.stop || self.plan.end.is_some_and(|end| state.claimed >= end) {
                return None;
            }
            if state.claimed < state.taken + state.ring.len() as u64 {
                state.claimed += 1;
                return Some((state.claimed - 1, state.free.pop()));
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<M: DerefMut<Target = [u8]>> Shared<M> {
    /// A worker's life.
    fn fill_batches(&self) {
        while let Some((b, used)) = self.claim() {
            let mut delivery = Delivery { shared: self, b, result: None };
            delivery.result = Some(self.filled(b, used));
        }
    }

    /// Batch `b`, in the memory of `used` if that is given.
    fn filled(&self, b: u64, used: Option<Batch<M>>) -> Result<Batch<M>> {
        let mut batch = match used {
            Some(batch) => batch,
            None => Batch::new((self.memory)(self.plan.batch * self.plan.record())?, self.plan.record()),
        };
        self.plan.fill(b, &mut batch)?;
        Ok(batch)
    }
}

/// Puts a worker's result in its place, also when the worker panics: the
/// consumer must not wait for a batch that nobody fills.
struct Delivery<'a, M> {
    shared: &'a Shared<M>,
    b: u64,
    result: Option<Result<Batch<M>>>,
}

impl<M> Drop for Delivery<'_, M> {
    fn drop(&mut self) {
        let panicked = || Err(Error::Usage(format!("a loader thread panicked while it filled batch {}", self.b)));
        let result = self.result.take().unwrap_or_else(panicked);
        let mut state = self.shared.lock();
        let slot = state.slot(self.b);
        state.ring[slot] = Some(result);
        self.shared.ready.notify_one();
    }
}

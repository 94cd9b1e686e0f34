//! What a person sees while a pack runs.

use indicatif::{ProgressBar, ProgressStyle};
use zfnet::data::report::Event;

use crate::print::talk;

/// A bar on a terminal, and lines for what has to be said.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is drawn where stderr is not a terminal.
    pub fn new() -> Self {
        Progress { bar: ProgressBar::no_length() }
    }

    /// To be called with each event.
    pub fn hear(&self, event: Event) {
        match event {
            Event::Begin(images) => {
                self.bar.set_length(images as u64);
                if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left") {
                    self.bar.set_style(style);
                }
            }
            Event::Continued(images) => {
                self.bar.set_position(images as u64);
                self.bar.reset_eta();
                self.bar.suspend(|| talk!("zfnet: note: going on behind {images} images of an unfinished pack"));
            }
            Event::Image => self.bar.inc(1),
            Event::Bad(path, reason) => self.bar.suspend(|| talk!("zfnet: left out {}: {reason}", path.display())),
            Event::Note(text) => self.bar.suspend(|| talk!("zfnet: note: {text}")),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

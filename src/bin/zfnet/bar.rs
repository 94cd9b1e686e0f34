//! Progress bars: on stderr, and only when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::print::talk;

/// A bar that vanishes when it is dropped.
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar of `length` images, with what is done to them in front.
    pub fn new(length: u64, what: &str) -> Self {
        let bar = ProgressBar::new(length);
        let template = "{prefix} {bar:30} {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Bar(bar)
    }

    /// `done` images are done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// What stands behind the bar.
    pub fn message(&self, message: String) {
        self.0.set_message(message);
    }

    /// Writes a line above the bar, or alone where there is no terminal.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| talk!("{line}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

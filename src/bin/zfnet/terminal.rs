//! What a person sees while a network trains, and how they stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zfnet::train::metrics::EpochMetrics;
use zfnet::train::observer::{Observer, Step};
use zfnet::train::schedule::Rate;

use crate::bar::Bar;
use crate::print::talk;

/// Draws the bars, and hears Ctrl-C.
pub struct Terminal {
    bar: Option<(Bar, Stage)>,
    stop: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Training,
    Validating,
}

impl Terminal {
    /// Listens for Ctrl-C. Make one a process.
    pub fn new() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                // The second time: at once. The last checkpoint stands.
                std::process::exit(130);
            }
            talk!("\nfinishing this step and saving; Ctrl-C again to stop at once");
        })?;
        Ok(Terminal { bar: None, stop })
    }

    /// The bar of `stage`; a new one where another stage's stood.
    fn bar(&mut self, stage: Stage, length: u64, what: impl FnOnce() -> String) -> &Bar {
        if self.bar.as_ref().is_some_and(|(_, of)| *of != stage) {
            self.bar = None;
        }
        &self.bar.get_or_insert_with(|| (Bar::new(length, &what()), stage)).0
    }
}

impl Observer for Terminal {
    fn say(&mut self, line: &str) {
        match &self.bar {
            Some((bar, _)) => bar.say(line),
            None => talk!("{line}"),
        }
    }

    fn step(&mut self, step: &Step) {
        let left = step.seconds_left as u64;
        let bar = self.bar(Stage::Training, step.steps_per_epoch, || format!("epoch {}/{}", step.epoch, step.epochs));
        bar.at(step.step_in_epoch);
        bar.message(format!(
            "loss {:.4}  top-1 {:.3}  lr {}  {:.1} images/s  {}:{:02}:{:02} left",
            step.loss,
            step.top1,
            Rate(step.lr),
            step.images_per_s,
            left / 3600,
            left / 60 % 60,
            left % 60
        ));
    }

    fn validating(&mut self, done: usize, images: usize) {
        self.bar(Stage::Validating, images as u64, || "validation".to_owned()).at(done as u64);
    }

    fn epoch(&mut self, _metrics: &EpochMetrics) {
        self.bar = None;
    }

    fn stop(&mut self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

//! Training: loop, schedule, checkpoints, metrics.

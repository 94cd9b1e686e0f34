#pragma once

// What changes from step to step: `StepScalars` of src/ops/mod.rs.
struct Scalars {
  unsigned long long step;  // counted from 0
  float lr, momentum, weight_decay;
  unsigned unused;
};
static_assert(sizeof(Scalars) == 24, "src/ops/gpu.rs lays it out alike");

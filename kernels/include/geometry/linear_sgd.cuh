// The geometry of a linear layer's weight gradient with its update, field for field as the launcher's
// #[repr(C)] struct.
#pragma once

#include "geometry/linear.cuh"

struct LinearSgd {
  Linear linear;
  // Whether weights, and biases, decay.
  int decays, bias_decays;
};
static_assert(sizeof(LinearSgd) == 32, "eight words, no padding");

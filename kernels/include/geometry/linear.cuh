// The geometry of a fully connected layer, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Linear {
  int N, inputs, outputs;
  // Whether y is max(y, 0).
  int relu;
  // The sum over the depth is cut into this many parts, each so many steps of the product long.
  int splits, split_steps;
};
static_assert(sizeof(Linear) == 24, "six words, no padding");

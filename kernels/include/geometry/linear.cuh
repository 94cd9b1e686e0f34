// The geometry of a fully connected layer, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Linear {
  int N, inputs, outputs;
  // Whether y is max(y, 0).
  int relu;
};
static_assert(sizeof(Linear) == 16, "four words, no padding");

// The geometry of a rectification on the way down, field for field as the launcher's #[repr(C)] struct.
#pragma once

struct Relu {
  unsigned long long len;
  // Whether an element is stopped where y <= 0, and where the signal itself is.
  int by_output, by_signal;
};
static_assert(sizeof(Relu) == 16, "no padding");

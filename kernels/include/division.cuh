// Division by a number that the launcher knows: a multiplication and a shift in place of some
// twenty instructions. Turning a row of an implicit product into (n, p, q) takes two of them.
#pragma once

// Field for field as src/ops/product.rs, which proves it: with 2^(shift - 1) < d <= 2^shift,
// multiplier = floor(2^32 (2^shift - d) / d) + 1.
struct Divisor {
  int value;
  unsigned multiplier;
  int shift;
};
static_assert(sizeof(Divisor) == 12, "three words, no padding");

// floor(n / d) for 0 <= n < 2^31.
__device__ __forceinline__ int divide(int n, const Divisor& d) {
  return int((__umulhi(unsigned(n), d.multiplier) + unsigned(n)) >> d.shift);
}

struct Quotient {
  int quotient, remainder;
};

__device__ __forceinline__ Quotient divide_with_remainder(int n, const Divisor& d) {
  const int quotient = divide(n, d);
  return {quotient, n - quotient * d.value};
}

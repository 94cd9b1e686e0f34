// What the kernels of an update share: kernels/sgd.cu has the formulas.
#pragma once

#include "geometry/scalars.cuh"
#include "numbers.cuh"
#include "vector.cuh"

// v <- mu v + (g + wd w), w <- w - lr v. The roundings are written out, not left to the compiler: an update
// in the epilogue of a product is then the same bits as one by itself.
__device__ __forceinline__ void descend(const Scalars& step, float decay, float g, float& v, float& w) {
  v = __fmaf_rn(step.momentum, v, __fmaf_rn(decay, w, g));
  w = __fmaf_rn(-step.lr, v, w);
}

template <int n>
__device__ __forceinline__ void descend(const Scalars& step, float decay, const Vector<float, n>& g,
                                        Vector<float, n>& v, Vector<float, n>& w) {
#pragma unroll
  for (int j = 0; j < n; j++) descend(step, decay, g.v[j], v.v[j], w.v[j]);
}

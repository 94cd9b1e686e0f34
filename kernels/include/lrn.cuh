// What the kernels of a normalisation share: kernels/lrn.cu has the formulas.
#pragma once

#include "geometry/lrn.cuh"
#include "numbers.cuh"

// s^-beta. The paper's exponent needs no powf: with r = s^-1/2, s^-3/4 = r sqrt(r).
__device__ __forceinline__ float power(float s, float beta) {
  const float r = rsqrtf(s);
  if (beta == 0.75f) return r * sqrtf(r);
  if (beta == 0.5f) return r;
  return powf(s, -beta);
}

// s[c] of one pixel.
template <class T>
__device__ __forceinline__ float normaliser(const Lrn& lrn, const T* a /* (C) */, int c) {
  float sum = 0.0f;
  for (int j = max(c - lrn.below, 0); j <= min(c + lrn.above, lrn.C - 1); j++) sum += to_f32(a[j]) * to_f32(a[j]);
  return lrn.k + lrn.scale * sum;
}

// b of one pixel, by a warp.
template <class A, class T>
__device__ __forceinline__ void lrn_forward_row(const Lrn& lrn, const A* a /* (C) */, T* b /* (C) */) {
  for (int c = threadIdx.x % 32; c < lrn.C; c += 32) {
    b[c] = from_f32<T>(to_f32(a[c]) * power(normaliser(lrn, a, c), lrn.beta));
  }
}

// da of one pixel, by a warp, to which the shared memory `work` belongs.
template <class A, class T>
__device__ __forceinline__ void lrn_backward_row(const Lrn& lrn, const A* a /* (C) */, const T* db /* (C) */,
                                                 T* da /* (C) */, float* work /* (2, C) */) {
  const int lane = threadIdx.x % 32;
  float *terms = work, *direct = work + lrn.C;
  for (int c = lane; c < lrn.C; c += 32) {
    const float s = normaliser(lrn, a, c);
    direct[c] = to_f32(db[c]) * power(s, lrn.beta);
    terms[c] = direct[c] * to_f32(a[c]) / s;
  }
  __syncwarp();
  for (int c = lane; c < lrn.C; c += 32) {
    float sum = 0.0f;
    for (int j = max(c - lrn.above, 0); j <= min(c + lrn.below, lrn.C - 1); j++) sum += terms[j];
    da[c] = from_f32<T>(direct[c] - 2.0f * lrn.scale * lrn.beta * to_f32(a[c]) * sum);
  }
  __syncwarp();  // The warp's next pixel overwrites the terms.
}

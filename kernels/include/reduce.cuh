// Reductions over a warp or a block in an order that depends on its size alone: the same bits on
// every run, and the same in every thread. All threads take part; a block is whole warps.
#pragma once

#include "shared.cuh"

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
};

// Passes over a NaN.
struct Largest {
  __device__ __forceinline__ double operator()(double a, double b) const { return fmax(a, b); }
};

// A butterfly: both lanes of a pair combine the same two numbers.
template <class T, class Combine>
__device__ __forceinline__ T warp_reduce(T v, Combine combine) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) v = combine(v, __shfl_xor_sync(0xffffffffu, v, distance));
  return v;
}

// One result of each warp.
template <class T>
struct WarpResults {
  T of[32];
};

template <class T, class Combine>
__device__ __forceinline__ T block_reduce(T v, Combine combine) {
  WarpResults<T>& results = shared<WarpResults<T>>();
  v = warp_reduce(v, combine);
  __syncthreads();  // The reduction before may still be read.
  if (threadIdx.x % 32 == 0) results.of[threadIdx.x / 32] = v;
  __syncthreads();
  T all = results.of[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; warp++) all = combine(all, results.of[warp]);
  return all;
}

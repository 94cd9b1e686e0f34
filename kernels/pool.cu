// Max pooling that records switches, and unpooling, its gradient: src/ops/pool/mod.rs has the derivation.
//
//   y[n,p,q,c] = max_{r,s} x[n, p t + r, q t + s, c],  switch = r R + s of the first maximum in row-major order
//   x[n,h,w,c] = sum over the windows (p,q) whose switch points at (h,w) of y[n,p,q,c], or the last of them
//
// Windows that reach past the border are clipped. Unpooling gathers: each position looks at the windows
// that cover it, in row-major order, so that the sum has one order.
//
//   pool_forward_1, pool_unpool_1   a thread per element of the result
//   pool_forward_2, pool_unpool_2   a block per row of the result, which leaves no 64-bit division to a thread,
//                                   and 16 bytes along C a load where C allows; _f32, _bf16

#include "numbers.cuh"
#include "pool.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per element

extern "C" __global__ void pool_forward_1(Pool pool,
                                          const float* __restrict__ x,             // (N, H, W, C)
                                          float* __restrict__ y,                   // (N, P, Q, C)
                                          unsigned char* __restrict__ switches) {  // (N, P, Q, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(pool.N) * pool.P * pool.Q * pool.C) return;
  const int c = i % pool.C, q = i / pool.C % pool.Q, p = i / pool.C / pool.Q % pool.P;
  const size_t n = i / pool.C / pool.Q / pool.P;
  float best = -INFINITY;
  int code = 0;
  for (int r = 0; r < min(pool.R, pool.H - p * pool.stride); r++) {
    for (int s = 0; s < min(pool.R, pool.W - q * pool.stride); s++) {
      const float v = x[((n * pool.H + p * pool.stride + r) * pool.W + q * pool.stride + s) * pool.C + c];
      if (beats(v, best)) {
        best = v;
        code = r * pool.R + s;
      }
    }
  }
  y[i] = best;
  switches[i] = code;
}

extern "C" __global__ void pool_unpool_1(Pool pool,
                                         const float* __restrict__ y,                 // (N, P, Q, C)
                                         const unsigned char* __restrict__ switches,  // (N, P, Q, C)
                                         float* __restrict__ x) {                     // (N, H, W, C)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(pool.N) * pool.H * pool.W * pool.C) return;
  const int c = i % pool.C, w = i / pool.C % pool.W, h = i / pool.C / pool.W % pool.H;
  const size_t n = i / pool.C / pool.W / pool.H;
  float sum = 0.0f;
  for (int p = first_window(pool, h); p < end_window(pool, h, pool.P); p++) {
    for (int q = first_window(pool, w); q < end_window(pool, w, pool.Q); q++) {
      const size_t at = ((n * pool.P + p) * pool.Q + q) * pool.C + c;
      const int here = (h - p * pool.stride) * pool.R + w - q * pool.stride;
      if (switches[at] == here) sum = pool.set ? y[at] : sum + y[at];
    }
  }
  x[i] = sum;
}

// ---------------------------------------------------------------------------
// 2: a block per row, n channels a thread

// Four blocks to a multiprocessor leave 64 registers a thread. Unasked ptxas aims at fewer, and spills.

template <class T, int n>
__device__ __forceinline__ void pool_row(const Pool& pool, const T* __restrict__ x, T* __restrict__ y,
                                         unsigned char* __restrict__ switches) {
  const int p = blockIdx.x % pool.P, vectors = pool.C / n;
  const T* x_n = x + size_t(blockIdx.x / pool.P) * pool.H * pool.W * pool.C;
  const size_t y_np = size_t(blockIdx.x) * pool.Q * pool.C;
  for (int i = threadIdx.x; i < pool.Q * vectors; i += blockDim.x) {
    const Pooled<n> pooled = pool_window<n>(pool, x_n + i % vectors * n, p, i / vectors);
    store(y + y_np + size_t(i) * n, from_f32<T>(pooled.largest));
    store(switches + y_np + size_t(i) * n, pooled.code);
  }
}

template <class T, int n>
__device__ __forceinline__ void unpool_row(const Pool& pool, const T* __restrict__ y,
                                           const unsigned char* __restrict__ switches, T* __restrict__ x) {
  const int h = blockIdx.x % pool.H, vectors = pool.C / n;
  const size_t y_n = size_t(blockIdx.x / pool.H) * pool.P * pool.Q * pool.C;
  const size_t x_nh = size_t(blockIdx.x) * pool.W * pool.C;
  for (int i = threadIdx.x; i < pool.W * vectors; i += blockDim.x) {
    const int c = i % vectors * n;
    const T* y_nc = y + y_n + c;
    const auto value = [&](int p, int q) { return y_nc + (size_t(p) * pool.Q + q) * pool.C; };
    const Vector<float, n> sum = unpool_gather<n>(pool, h, i / vectors, switches + y_n + c, value);
    store(x + x_nh + size_t(i) * n, from_f32<T>(sum));
  }
}

template <class T>
__device__ __forceinline__ void pool_forward_2(const Pool& pool, const T* __restrict__ x, T* __restrict__ y,
                                               unsigned char* __restrict__ switches) {
  if (pool.C % kVector<T> == 0) {
    pool_row<T, kVector<T>>(pool, x, y, switches);
  } else {
    pool_row<T, 1>(pool, x, y, switches);
  }
}

template <class T>
__device__ __forceinline__ void pool_unpool_2(const Pool& pool, const T* __restrict__ y,
                                              const unsigned char* __restrict__ switches, T* __restrict__ x) {
  if (pool.C % kVector<T> == 0) {
    unpool_row<T, kVector<T>>(pool, y, switches, x);
  } else {
    unpool_row<T, 1>(pool, y, switches, x);
  }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_forward_2_f32(Pool pool,
                       const float* __restrict__ x,             // (N, H, W, C)
                       float* __restrict__ y,                   // (N, P, Q, C)
                       unsigned char* __restrict__ switches) {  // (N, P, Q, C)
  pool_forward_2(pool, x, y, switches);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_forward_2_bf16(Pool pool,
                        const bf16* __restrict__ x,              // (N, H, W, C)
                        bf16* __restrict__ y,                    // (N, P, Q, C)
                        unsigned char* __restrict__ switches) {  // (N, P, Q, C)
  pool_forward_2(pool, x, y, switches);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_unpool_2_f32(Pool pool,
                      const float* __restrict__ y,                 // (N, P, Q, C)
                      const unsigned char* __restrict__ switches,  // (N, P, Q, C)
                      float* __restrict__ x) {                     // (N, H, W, C)
  pool_unpool_2(pool, y, switches, x);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_unpool_2_bf16(Pool pool,
                       const bf16* __restrict__ y,                  // (N, P, Q, C)
                       const unsigned char* __restrict__ switches,  // (N, P, Q, C)
                       bf16* __restrict__ x) {                      // (N, H, W, C)
  pool_unpool_2(pool, y, switches, x);
}

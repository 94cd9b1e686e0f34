// Max pooling and the normalisation behind it in one launch, in both directions: the formulas stand in
// kernels/pool.cu and kernels/lrn.cu, and so do the versions that run them one after the other.
//
//   pool_lrn_forward_2   x -> a (pooled) and switches -> b: a block pools a piece of a row, keeps it in shared
//                        memory, and normalises it a warp per pixel. Spared: reading a.
//   pool_lrn_backward_2  db -> da -> dx: a block normalises back the windows that reach into its tile of dx, da in
//                        shared memory alone, then gathers. Spared: writing and reading da; paid: windows
//                        on the seam of two tiles are normalised twice, with tiles of 4 x 16 a third of all.
//   _f32, _bf16          da is rounded as if it were stored: the same sums as unfused.

#include "geometry/pool_lrn.cuh"
#include "lrn.cuh"
#include "numbers.cuh"
#include "pool.cuh"
#include "shared.cuh"
#include "vector.cuh"

// ---------------------------------------------------------------------------
// Forward

// Pools windows q0 to q0 + columns of row p, n channels a thread.
template <int n, class T>
__device__ __forceinline__ void pool_tile(const Pool& pool, const T* __restrict__ x_n, int p, int q0, int columns,
                                          float* __restrict__ pooled, T* __restrict__ a,
                                          unsigned char* __restrict__ switches) {
  const int vectors = pool.C / n;
  for (int i = threadIdx.x; i < columns * vectors; i += blockDim.x) {
    const Pooled<n> window = pool_window<n>(pool, x_n + i % vectors * n, p, q0 + i / vectors);
    store(pooled + i * n, window.largest);
    store(a + i * n, from_f32<T>(window.largest));
    store(switches + i * n, window.code);
  }
}

// Dynamic shared memory: (tile_Q, C) f32.
template <class T>
__device__ __forceinline__ void pool_lrn_forward_2(const PoolLrn& both, const T* __restrict__ x, T* __restrict__ a,
                                                   unsigned char* __restrict__ switches, T* __restrict__ b) {
  const Pool& pool = both.pool;
  const int np = blockIdx.x / both.tiles_Q, q0 = blockIdx.x % both.tiles_Q * both.tile_Q;
  const int p = np % pool.P, columns = min(both.tile_Q, pool.Q - q0);
  const T* x_n = x + size_t(np / pool.P) * pool.H * pool.W * pool.C;
  const size_t first = (size_t(np) * pool.Q + q0) * pool.C;
  float* pooled = dynamic_shared<float>();  // (columns, C)
  if (pool.C % kVector<T> == 0) {
    pool_tile<kVector<T>>(pool, x_n, p, q0, columns, pooled, a + first, switches + first);
  } else {
    pool_tile<1>(pool, x_n, p, q0, columns, pooled, a + first, switches + first);
  }
  __syncthreads();
  for (int q = threadIdx.x / 32; q < columns; q += blockDim.x / 32) {
    lrn_forward_row(both.lrn, pooled + q * pool.C, b + first + size_t(q) * pool.C);
  }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_lrn_forward_2_f32(PoolLrn both,
                           const float* __restrict__ x,            // (N, H, W, C)
                           float* __restrict__ a,                  // (N, P, Q, C)
                           unsigned char* __restrict__ switches,   // (N, P, Q, C)
                           float* __restrict__ b) {                // (N, P, Q, C)
  pool_lrn_forward_2(both, x, a, switches, b);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_lrn_forward_2_bf16(PoolLrn both,
                            const bf16* __restrict__ x,            // (N, H, W, C)
                            bf16* __restrict__ a,                  // (N, P, Q, C)
                            unsigned char* __restrict__ switches,  // (N, P, Q, C)
                            bf16* __restrict__ b) {                // (N, P, Q, C)
  pool_lrn_forward_2(both, x, a, switches, b);
}

// ---------------------------------------------------------------------------
// Backward

// The half-open range of positions along one axis, and that of the windows that cover any of them.
struct Span {
  int begin, end, first, last;
};

__device__ __forceinline__ Span span(const Pool& pool, int tile, int windows, int size, int count) {
  const int begin = tile * windows * pool.stride, end = min(begin + windows * pool.stride, size);
  const int first = first_window(pool, begin);
  return {begin, end, first, max(end_window(pool, end - 1, count), first)};
}

// Gathers the tile rows x columns of one image from da of the windows that cover it, n channels a thread.
template <int n, class T>
__device__ __forceinline__ void unpool_tile(const Pool& pool, const Span& rows, const Span& columns, const T* da,
                                            const unsigned char* __restrict__ switches_n, T* __restrict__ dx_n) {
  const int vectors = pool.C / n, width = columns.end - columns.begin, windows = columns.last - columns.first;
  for (int i = threadIdx.x; i < (rows.end - rows.begin) * width * vectors; i += blockDim.x) {
    const int c = i % vectors * n, w = columns.begin + i / vectors % width, h = rows.begin + i / vectors / width;
    const auto value = [&](int p, int q) {
      return da + ((p - rows.first) * windows + q - columns.first) * pool.C + c;
    };
    const Vector<float, n> sum = unpool_gather<n>(pool, h, w, switches_n + c, value);
    store(dx_n + (size_t(h) * pool.W + w) * pool.C + c, from_f32<T>(sum));
  }
}

// Dynamic shared memory: (warps, 2, C) f32, then (windows that cover a tile, C) of T.
template <class T>
__device__ __forceinline__ void pool_lrn_backward_2(const PoolLrn& both, const T* __restrict__ a,
                                                    const unsigned char* __restrict__ switches,
                                                    const T* __restrict__ db, T* __restrict__ dx) {
  const Pool& pool = both.pool;
  const int tile = blockIdx.x % (both.tiles_P * both.tiles_Q), n = blockIdx.x / (both.tiles_P * both.tiles_Q);
  const Span rows = span(pool, tile / both.tiles_Q, both.tile_P, pool.H, pool.P);
  const Span columns = span(pool, tile % both.tiles_Q, both.tile_Q, pool.W, pool.Q);
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
  float* work = dynamic_shared<float>();                      // (warps, 2, C)
  T* da = reinterpret_cast<T*>(work + warps * 2 * pool.C);    // (windows, C)
  const size_t map = size_t(n) * pool.P * pool.Q * pool.C;

  const int width = columns.last - columns.first;
  for (int i = warp; i < (rows.last - rows.first) * width; i += warps) {
    const int p = rows.first + i / width, q = columns.first + i % width;
    const size_t pixel = map + (size_t(p) * pool.Q + q) * pool.C;
    lrn_backward_row(both.lrn, a + pixel, db + pixel, da + i * pool.C, work + warp * 2 * pool.C);
  }
  __syncthreads();
  T* dx_n = dx + size_t(n) * pool.H * pool.W * pool.C;
  if (pool.C % kVector<T> == 0) {
    unpool_tile<kVector<T>>(pool, rows, columns, da, switches + map, dx_n);
  } else {
    unpool_tile<1>(pool, rows, columns, da, switches + map, dx_n);
  }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_lrn_backward_2_f32(PoolLrn both,
                            const float* __restrict__ a,                 // (N, P, Q, C)
                            const unsigned char* __restrict__ switches,  // (N, P, Q, C)
                            const float* __restrict__ db,                // (N, P, Q, C)
                            float* __restrict__ dx) {                    // (N, H, W, C)
  pool_lrn_backward_2(both, a, switches, db, dx);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    pool_lrn_backward_2_bf16(PoolLrn both,
                             const bf16* __restrict__ a,                  // (N, P, Q, C)
                             const unsigned char* __restrict__ switches,  // (N, P, Q, C)
                             const bf16* __restrict__ db,                 // (N, P, Q, C)
                             bf16* __restrict__ dx) {                     // (N, H, W, C)
  pool_lrn_backward_2(both, a, switches, db, dx);
}

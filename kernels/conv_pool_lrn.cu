// Convolution, bias, ReLU, max pooling and the normalisation behind it in one launch on Hopper: kernels/conv.cu,
// pool.cu and lrn.cu have the formulas, and the versions that run them one after the other.
// architectures: sm_90a
//
//   conv_pool_lrn_forward_4_bf16_n<N>   x -> y -> a (pooled) and switches -> b. A block's 128 rows are a patch of y,
//                                       all N >= K channels of it, from which it pools a tile of windows that
//                                       no other block needs. Spared: writing and reading y, the largest array of
//                                       the network; paid: what the windows of two tiles share is computed twice.
//
// y is rounded as if it were stored, so a, switches and b are the bits of the separate launches. Grid: the tiles of
// all images.

#include "conv/gather.cuh"
#include "geometry/conv_pool_lrn.cuh"
#include "lrn.cuh"
#include "pool.cuh"
#include "product/matrix.cuh"
#include "product/multiply_wgmma.cuh"

// ---------------------------------------------------------------------------
// The patch

// Where a block's patch of y, and its tile of windows, begin.
struct Place {
  int n, p, q;        // of y
  int tile_p, tile_q; // of windows
};

__device__ __forceinline__ Place place(const ConvPoolLrn& all, int block) {
  const Quotient image = divide_with_remainder(block, all.by_tiles);
  const Quotient tile = divide_with_remainder(image.remainder, all.by_tiles_Q);
  const int p = tile.quotient * all.tile_P, q = tile.remainder * all.tile_Q;
  return {image.quotient, p * all.pool.stride, q * all.pool.stride, p, q};
}

// The pixel of y that row i of a patch is; false for one outside the image.
struct PatchPixel {
  int p, q;
  bool inside;
};
__device__ __forceinline__ PatchPixel patch_pixel(const ConvPoolLrn& all, const Place& at, int i) {
  const Quotient row = divide_with_remainder(i, all.by_patch_Q);
  const int p = at.p + row.quotient, q = at.q + row.remainder;
  return {p, q, p < all.conv.P && q < all.conv.Q};
}

// fprop's gather, its lines in the order of the patch.
struct PatchImage : FpropImage<bf16> {
  const ConvPoolLrn& all;
  const Place& at_patch;

  __device__ __forceinline__ Line line(int i) const {
    const PatchPixel pixel = patch_pixel(all, at_patch, i);
    const int image = at_patch.n * conv.by_PQ.value;
    return FpropImage<bf16>::line(pixel.inside ? image + pixel.p * conv.Q + pixel.q : lines_of_all());
  }

 private:
  __device__ __forceinline__ int lines_of_all() const { return conv.N * conv.by_PQ.value; }
};

// ---------------------------------------------------------------------------
// What becomes of its sums, by the threads that store

// A sum becomes a value of y; -infinity, which no maximum takes, stands for what lies outside.
struct ToY {
  const ConvPoolLrn& all;
  const Place& at;
  Epilogue epilogue;

  __device__ __forceinline__ float operator()(int row, int k, float sum) const {
    const float y = finish(epilogue, sum, k < all.conv.K ? epilogue.bias[k] : 0.0f);
    return patch_pixel(all, at, row).inside ? to_f32(from_f32<bf16>(y)) : -INFINITY;
  }
};

// Pools the tile, n channels a thread, to memory and to `pooled`.
template <class Engine, int n>
__device__ __forceinline__ void pool_patch(const ConvPoolLrn& all, const Place& at, int rows, int columns,
                                           const typename Engine::Out& results,
                                           float* __restrict__ pooled,  // (windows, N)
                                           bf16* __restrict__ a, unsigned char* __restrict__ switches) {
  constexpr int kPitch = Engine::Out::kColumns;
  // The patch as an image by itself: no window leaves it.
  Pool patch = all.pool;
  patch.H = all.patch_P, patch.W = all.patch_Q, patch.C = sizeof(results.at[0]) / sizeof(float);
  const float* const y = reinterpret_cast<const float*>(&results);
  const int K = all.conv.K, vectors = K / n;
  for (int i = Engine::thread(); i < rows * columns * vectors; i += Engine::kStorers) {
    const int k = i % vectors * n, window = i / vectors, p = window / columns, q = window % columns;
    const Pooled<n> result = pool_window<n>(patch, y + k, p, q);
    store(pooled + window * kPitch + k, result.largest);
    const size_t to = ((size_t(at.n) * all.pool.P + at.tile_p + p) * all.pool.Q + at.tile_q + q) * K + k;
    store(a + to, from_f32<bf16>(result.largest));
    store(switches + to, result.code);
  }
}

template <class Engine>
__device__ __forceinline__ void conv_pool_lrn_forward(const ConvPoolLrn& all, const bf16* __restrict__ x,
                                                      const bf16* __restrict__ w, const float* __restrict__ bias,
                                                      bf16* __restrict__ a, unsigned char* __restrict__ switches,
                                                      bf16* __restrict__ b) {
  const Conv& conv = all.conv;
  const Place at = place(all, blockIdx.x);
  const int depths = conv.R * conv.by_SC.value, lines = all.patch_P * all.patch_Q;
  const PatchImage image{{conv, lines, depths, x, together<bf16>(conv.group_C)}, all, at};
  const Matrix<bf16, false> filters{w, conv.K, depths, conv.filter_pitch, together<bf16>(conv.filter_pitch)};
  const int steps = (depths + Engine::kStepDepth - 1) / Engine::kStepDepth;
  const ToY to_y{all, at, {bias, conv.relu != 0}};
  auto* results = Engine::product(image, filters, {0, 0}, 0, steps, Ignore(), to_y);
  if (!results) return;
  const int rows = min(all.tile_P, all.pool.P - at.tile_p), columns = min(all.tile_Q, all.pool.Q - at.tile_q);
  float* const pooled = reinterpret_cast<float*>(results + 1);  // (windows, N)
  if (conv.K % 4 == 0) {
    pool_patch<Engine, 4>(all, at, rows, columns, *results, pooled, a, switches);
  } else {
    pool_patch<Engine, 1>(all, at, rows, columns, *results, pooled, a, switches);
  }
  named_barrier_sync(1, Engine::kStorers);
  for (int window = Engine::thread() / 32; window < rows * columns; window += Engine::kStorers / 32) {
    const int p = at.tile_p + window / columns, q = at.tile_q + window % columns;
    const size_t pixel = (size_t(at.n) * all.pool.P + p) * all.pool.Q + q;
    lrn_forward_row(all.lrn, pooled + window * Engine::Out::kColumns, b + pixel * conv.K);
  }
}

// ---------------------------------------------------------------------------
// For each number of columns

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_pool_lrn_forward_4_bf16_n96(
    ConvPoolLrn all,
    const bf16* __restrict__ x,             // (N, H, W, C)
    const bf16* __restrict__ w,             // (K, filter_pitch)
    const float* __restrict__ bias,         // (K)
    bf16* __restrict__ a,                   // (N, P', Q', K), of the pool
    unsigned char* __restrict__ switches,   // (N, P', Q', K)
    bf16* __restrict__ b) {                 // (N, P', Q', K)
  conv_pool_lrn_forward<Wgmma<96>>(all, x, w, bias, a, switches, b);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_pool_lrn_forward_4_bf16_n128(
    ConvPoolLrn all,
    const bf16* __restrict__ x,             // (N, H, W, C)
    const bf16* __restrict__ w,             // (K, filter_pitch)
    const float* __restrict__ bias,         // (K)
    bf16* __restrict__ a,                   // (N, P', Q', K), of the pool
    unsigned char* __restrict__ switches,   // (N, P', Q', K)
    bf16* __restrict__ b) {                 // (N, P', Q', K)
  conv_pool_lrn_forward<Wgmma<128>>(all, x, w, bias, a, switches, b);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_pool_lrn_forward_4_bf16_n192(
    ConvPoolLrn all,
    const bf16* __restrict__ x,             // (N, H, W, C)
    const bf16* __restrict__ w,             // (K, filter_pitch)
    const float* __restrict__ bias,         // (K)
    bf16* __restrict__ a,                   // (N, P', Q', K), of the pool
    unsigned char* __restrict__ switches,   // (N, P', Q', K)
    bf16* __restrict__ b) {                 // (N, P', Q', K)
  conv_pool_lrn_forward<Wgmma<192>>(all, x, w, bias, a, switches, b);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) conv_pool_lrn_forward_4_bf16_n256(
    ConvPoolLrn all,
    const bf16* __restrict__ x,             // (N, H, W, C)
    const bf16* __restrict__ w,             // (K, filter_pitch)
    const float* __restrict__ bias,         // (K)
    bf16* __restrict__ a,                   // (N, P', Q', K), of the pool
    unsigned char* __restrict__ switches,   // (N, P', Q', K)
    bf16* __restrict__ b) {                 // (N, P', Q', K)
  conv_pool_lrn_forward<Wgmma<256>>(all, x, w, bias, a, switches, b);
}

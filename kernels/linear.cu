// Matrix products of fully connected layers, y = x w^T: src/ops/linear/mod.rs has all directions.
//
//   linear_fprop_1       f32, a thread per output: the definition
//   linear_fprop_2       f32, like 1, but a block of 256 threads computes 64 x 64 outputs from tiles in
//                        shared memory, 4 x 4 a thread: each loaded number is used 64 times
//   linear_fprop_3_bf16  tensor cores: 4 warps compute 64 x 64 outputs, 32 x 32 each, from bf16 tiles that
//                        cp.async loads three steps ahead
//   linear_fprop_3_tf32  like 3_bf16, but f32 in memory, rounded to tf32 on the way to the tensor core

#include "cp_async.cuh"
#include "geometry/linear.cuh"
#include "mma.cuh"
#include "numbers.cuh"
#include "shared.cuh"

// ---------------------------------------------------------------------------
// Helpers

__device__ __forceinline__ float epilogue(const Linear& linear, float sum, const float* bias, int o) {
  const float y = sum + bias[o];
  return linear.relu ? fmaxf(y, 0.0f) : y;
}

// ---------------------------------------------------------------------------
// 1: a thread per output

extern "C" __global__ void linear_fprop_1(Linear linear,
                                          const float* __restrict__ x,     // (N, in)
                                          const float* __restrict__ w,     // (out, in)
                                          const float* __restrict__ bias,  // (out)
                                          float* __restrict__ y) {         // (N, out)
  const int o = blockIdx.x * blockDim.x + threadIdx.x, n = blockIdx.y * blockDim.y + threadIdx.y;
  if (o >= linear.outputs || n >= linear.N) return;
  float sum = 0.0f;
  for (int i = 0; i < linear.inputs; i++) sum += x[n * linear.inputs + i] * w[o * linear.inputs + i];
  y[n * linear.outputs + o] = epilogue(linear, sum, bias, o);
}

// ---------------------------------------------------------------------------
// 2: tiles in shared memory

constexpr int kTile = 64, kDepth = 16;

// Depth-major, so that a thread reads its 4 rows as one float4; 4 more columns spread the
// transposing writes over the banks.
struct Tiles {
  float x[kDepth][kTile + 4];
  float w[kDepth][kTile + 4];
};

// m (rows, inputs) from (row0, i0) on into tile (kDepth, kTile), zeros outside.
__device__ __forceinline__ void load_transposed(float (&tile)[kDepth][kTile + 4], const float* __restrict__ m, int rows,
                                                int inputs, int row0, int i0) {
  for (int e = threadIdx.x; e < kTile * kDepth; e += 256) {
    const int i = e % kDepth, row = e / kDepth;
    const bool inside = row0 + row < rows && i0 + i < inputs;
    tile[i][row] = inside ? m[(row0 + row) * inputs + i0 + i] : 0.0f;
  }
}

extern "C" __global__ void __launch_bounds__(256) linear_fprop_2(Linear linear,
                                                                 const float* __restrict__ x,     // (N, in)
                                                                 const float* __restrict__ w,     // (out, in)
                                                                 const float* __restrict__ bias,  // (out)
                                                                 float* __restrict__ y) {         // (N, out)
  Tiles& tiles = shared<Tiles>();
  const int n0 = blockIdx.y * kTile, o0 = blockIdx.x * kTile;
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
  float sum[4][4] = {};
  for (int i0 = 0; i0 < linear.inputs; i0 += kDepth) {
    load_transposed(tiles.x, x, linear.N, linear.inputs, n0, i0);
    load_transposed(tiles.w, w, linear.outputs, linear.inputs, o0, i0);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kDepth; i++) {
      const float4 xs = *reinterpret_cast<const float4*>(&tiles.x[i][row]);
      const float4 ws = *reinterpret_cast<const float4*>(&tiles.w[i][column]);
      const float left[4] = {xs.x, xs.y, xs.z, xs.w}, right[4] = {ws.x, ws.y, ws.z, ws.w};
#pragma unroll
      for (int r = 0; r < 4; r++) {
#pragma unroll
        for (int c = 0; c < 4; c++) sum[r][c] += left[r] * right[c];
      }
    }
    __syncthreads();
  }
  for (int r = 0; r < 4; r++) {
    for (int c = 0; c < 4; c++) {
      const int n = n0 + row + r, o = o0 + column + c;
      if (n < linear.N && o < linear.outputs) y[n * linear.outputs + o] = epilogue(linear, sum[r][c], bias, o);
    }
  }
}

// ---------------------------------------------------------------------------
// 3: tensor cores

constexpr int kStages = 3;

// Rows of 64 bytes and 16 more: eight rows that ldmatrix reads at once lie in different banks.
template <class T>
struct Stage {
  static constexpr int depth = 64 / sizeof(T), pitch = 80 / sizeof(T);
  T x[kTile][pitch];
  T w[kTile][pitch];
};

template <class T>
struct __align__(128) Pipeline {
  Stage<T> stages[kStages];
};

// m (rows, inputs) from (row0, i0) on into tile (kTile, depth) by cp.async, 16 bytes a copy,
// zeros outside. inputs is a multiple of 16 / sizeof(T): a copy lies within a row or outside.
template <class T>
__device__ __forceinline__ void load_async(T (&tile)[kTile][Stage<T>::pitch], const T* __restrict__ m, int rows,
                                           int inputs, int row0, int i0) {
  constexpr int vector = 16 / sizeof(T);
  for (int e = threadIdx.x; e < kTile * 4; e += 128) {
    const int row = e / 4, i = e % 4 * vector;
    const bool inside = row0 + row < rows && i0 + i < inputs;
    cp_async<16>(&tile[row][i], inside ? m + size_t(row0 + row) * inputs + i0 + i : m, inside);
  }
}

// One step of 32 bytes of depth for the warp's 32 x 32 outputs. ldmatrix moves 16-byte rows, whatever
// they hold: 8 bf16 or 4 tf32 a row land where mma wants them in either type.
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], bf16) {
  mma_m16n8k16_bf16(c, a, b);
}
__device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], float) {
  mma_m16n8k8_tf32(c, a, b);
}

// f32 bits to tf32; bf16 pairs stay as they are.
template <int n>
__device__ __forceinline__ void round_operands(unsigned (&)[n], bf16) {}
template <int n>
__device__ __forceinline__ void round_operands(unsigned (&r)[n], float) {
#pragma unroll
  for (int i = 0; i < n; i++) r[i] = to_tf32(__uint_as_float(r[i]));
}

template <class T>
__device__ __forceinline__ void multiply_stage(float (&c)[2][4][4], const Stage<T>& stage, int row0, int column0) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < 2; step++) {
    constexpr int vector = 16 / sizeof(T);
    const int i = step * 2 * vector;
    unsigned a[2][4], b[2][4];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      // a: rows 0-7 and 8-15 of the first 16 bytes, then of the second; b: the two 16 bytes of each 8 columns.
      ldmatrix_x4(a[h], &stage.x[row0 + 16 * h + lane % 16][i + lane / 16 * vector]);
      ldmatrix_x4(b[h], &stage.w[column0 + 16 * h + lane / 16 * 8 + lane % 8][i + lane / 8 % 2 * vector]);
      round_operands(a[h], T());
      round_operands(b[h], T());
    }
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int n = 0; n < 4; n++) {
        const unsigned pair[2] = {b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]};
        multiply(c[m][n], a[m], pair, T());
      }
    }
  }
}

template <class T>
__device__ __forceinline__ void linear_fprop_3(const Linear& linear, const T* __restrict__ x, const T* __restrict__ w,
                                               const float* __restrict__ bias, T* __restrict__ y) {
  Pipeline<T>& pipeline = shared<Pipeline<T>>();
  const int n0 = blockIdx.y * kTile, o0 = blockIdx.x * kTile;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = warp / 2 * 32, column0 = warp % 2 * 32;
  const int steps = (linear.inputs + Stage<T>::depth - 1) / Stage<T>::depth;
  const auto load = [&](int step) {
    if (step < steps) {
      Stage<T>& stage = pipeline.stages[step % kStages];
      load_async(stage.x, x, linear.N, linear.inputs, n0, step * Stage<T>::depth);
      load_async(stage.w, w, linear.outputs, linear.inputs, o0, step * Stage<T>::depth);
    }
    cp_async_commit();  // Empty groups too: the wait counts them.
  };

  for (int step = 0; step < kStages - 1; step++) load(step);
  float c[2][4][4] = {};
  for (int step = 0; step < steps; step++) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // All have this stage, and are done with the one that is loaded next.
    load(step + kStages - 1);
    multiply_stage(c, pipeline.stages[step % kStages], row0, column0);
  }

  for (int m = 0; m < 2; m++) {
    for (int tile = 0; tile < 4; tile++) {
      for (int j = 0; j < 4; j++) {
        const int n = n0 + row0 + 16 * m + lane / 4 + j / 2 * 8;
        const int o = o0 + column0 + 8 * tile + lane % 4 * 2 + j % 2;
        if (n < linear.N && o < linear.outputs) {
          y[n * linear.outputs + o] = from_f32<T>(epilogue(linear, c[m][tile][j], bias, o));
        }
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(128) linear_fprop_3_bf16(Linear linear,
                                                                      const bf16* __restrict__ x,      // (N, in)
                                                                      const bf16* __restrict__ w,      // (out, in)
                                                                      const float* __restrict__ bias,  // (out)
                                                                      bf16* __restrict__ y) {          // (N, out)
  linear_fprop_3(linear, x, w, bias, y);
}

extern "C" __global__ void __launch_bounds__(128) linear_fprop_3_tf32(Linear linear,
                                                                      const float* __restrict__ x,     // (N, in)
                                                                      const float* __restrict__ w,     // (out, in)
                                                                      const float* __restrict__ bias,  // (out)
                                                                      float* __restrict__ y) {         // (N, out)
  linear_fprop_3(linear, x, w, bias, y);
}

// The weight gradient of a linear layer, and the update of its parameters in the same launch: kernels/linear.cu
// and kernels/sgd.cu have the formulas, and the versions that do the one after the other.
//
//   linear_sgd_wgrad_1       f32, a thread per weight: the definition
//   linear_sgd_wgrad_2_f32   the tile of dw that a block has in shared memory meets its tiles of w and v there.
//                            Spared: writing and reading dw, 8 of the 26 bytes a parameter of both launches in bf16
//   linear_sgd_wgrad_3_tf32, _3_bf16   the same on tensor cores
//
// Nothing is clipped: an RMS is that of a row, which several blocks share. Grids of 2 and 3: the tiles of 128 x 128.

#include "linear/update.cuh"
#include "product/multiply_fma.cuh"
#include "product/multiply_mma.cuh"

// ---------------------------------------------------------------------------
// 1: a thread per weight

extern "C" __global__ void linear_sgd_wgrad_1(LinearSgd both,
                                              const Scalars* __restrict__ scalars,  // (1)
                                              const float* __restrict__ x,          // (N, in)
                                              const float* __restrict__ dy,         // (N, out)
                                              float* __restrict__ w,                // (out, in)
                                              float* __restrict__ v,                // (out, in)
                                              float* __restrict__ bias,             // (out)
                                              float* __restrict__ bias_v) {         // (out)
  const Linear& linear = both.linear;
  const size_t j = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= size_t(linear.outputs) * linear.inputs) return;
  const int o = j / linear.inputs, i = j % linear.inputs;
  float sum = 0.0f, bias_sum = 0.0f;
  for (int n = 0; n < linear.N; n++) {
    const float g = dy[size_t(n) * linear.outputs + o];
    sum += g * x[size_t(n) * linear.inputs + i];
    bias_sum += g;
  }
  descend(*scalars, both.decays ? scalars->weight_decay : 0.0f, sum, v[j], w[j]);
  if (i == 0) descend(*scalars, both.bias_decays ? scalars->weight_decay : 0.0f, bias_sum, bias_v[o], bias[o]);
}

// ---------------------------------------------------------------------------
// 2 and 3: in the epilogue of a product of tiles

extern "C" __global__ void __launch_bounds__(Fma::kThreads, kBlocks) linear_sgd_wgrad_2_f32(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const float* __restrict__ x,          // (N, in)
    const float* __restrict__ dy,         // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Tiled<Fma>>(both, scalars, x, dy, w, v, nullptr, bias, bias_v);
}

extern "C" __global__ void __launch_bounds__(Mma<float>::kThreads, kBlocks) linear_sgd_wgrad_3_tf32(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const float* __restrict__ x,          // (N, in)
    const float* __restrict__ dy,         // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Tiled<Mma<float>>>(both, scalars, x, dy, w, v, nullptr, bias, bias_v);
}

extern "C" __global__ void __launch_bounds__(Mma<bf16>::kThreads, kBlocks) linear_sgd_wgrad_3_bf16(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const bf16* __restrict__ x,           // (N, in)
    const bf16* __restrict__ dy,          // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    bf16* __restrict__ copy,              // (out, in), w rounded
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Tiled<Mma<bf16>>>(both, scalars, x, dy, w, v, copy, bias, bias_v);
}

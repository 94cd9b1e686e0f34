// The weight gradient of a linear layer with the update of its parameters on Hopper: linear_sgd.cu's in bf16, by
// warpgroups.
// architectures: sm_90a
//
//   linear_sgd_wgrad_4_bf16_n<N>   a block computes, and updates, 128 x N (kernels/include/product/multiply_wgmma.cuh)

#include "linear/update.cuh"
#include "product/multiply_wgmma.cuh"

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_sgd_wgrad_4_bf16_n96(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const bf16* __restrict__ x,           // (N, in)
    const bf16* __restrict__ dy,          // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    bf16* __restrict__ copy,              // (out, in), w rounded
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Wgmma<96>>(both, scalars, x, dy, w, v, copy, bias, bias_v);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_sgd_wgrad_4_bf16_n128(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const bf16* __restrict__ x,           // (N, in)
    const bf16* __restrict__ dy,          // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    bf16* __restrict__ copy,              // (out, in), w rounded
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Wgmma<128>>(both, scalars, x, dy, w, v, copy, bias, bias_v);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_sgd_wgrad_4_bf16_n192(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const bf16* __restrict__ x,           // (N, in)
    const bf16* __restrict__ dy,          // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    bf16* __restrict__ copy,              // (out, in), w rounded
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Wgmma<192>>(both, scalars, x, dy, w, v, copy, bias, bias_v);
}

extern "C" __global__ void __launch_bounds__(kWgmmaThreads, 1) linear_sgd_wgrad_4_bf16_n256(
    LinearSgd both,
    const Scalars* __restrict__ scalars,  // (1)
    const bf16* __restrict__ x,           // (N, in)
    const bf16* __restrict__ dy,          // (N, out)
    float* __restrict__ w,                // (out, in)
    float* __restrict__ v,                // (out, in)
    bf16* __restrict__ copy,              // (out, in), w rounded
    float* __restrict__ bias,             // (out)
    float* __restrict__ bias_v) {         // (out)
  linear_sgd_wgrad<Wgmma<256>>(both, scalars, x, dy, w, v, copy, bias, bias_v);
}

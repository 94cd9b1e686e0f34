// What a GPU can do at most: src/ops/roof/mod.rs.
//
//   roof_multiply_1_f32    kSums independent multiply-adds a thread and round, from register to register
//   roof_multiply_1_tf32   kSums independent mma of 16 x 8 x 8 a warp and round
//   roof_multiply_1_bf16   like tf32, of 16 x 8 x 16
//   roof_stream_1          y += x, a thread per 16 bytes
//
// All sums converge to 1 or stay 0: no infinity, no denormal. They are written so that they are computed.

#include "mma.cuh"
#include "numbers.cuh"

constexpr int kSums = 8;

// c += a b for one kind of tensor-core product.
struct Tf32 {
  static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_m16n8k8_tf32(c, a, b);
  }
};
struct Bf16 {
  static __device__ __forceinline__ void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    mma_m16n8k16_bf16(c, a, b);
  }
};

template <class Product>
__device__ __forceinline__ void multiply(int rounds, float* __restrict__ out) {
  const unsigned a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
  float c[kSums][4] = {};
  for (int round = 0; round < rounds; round++) {
#pragma unroll
    for (int i = 0; i < kSums; i++) Product::multiply(c[i], a, b);
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kSums; i++) sum += c[i][0] + c[i][1] + c[i][2] + c[i][3];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

extern "C" __global__ void roof_multiply_1_f32(int rounds, float* __restrict__ out) {  // out: (threads)
  float sums[kSums];
#pragma unroll
  for (int i = 0; i < kSums; i++) sums[i] = float(i) / kSums;
  for (int round = 0; round < rounds; round++) {
#pragma unroll
    for (int i = 0; i < kSums; i++) sums[i] = fmaf(sums[i], 0.5f, 0.5f);
  }
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kSums; i++) sum += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

extern "C" __global__ void roof_multiply_1_tf32(int rounds, float* __restrict__ out) {  // out: (threads)
  multiply<Tf32>(rounds, out);
}

extern "C" __global__ void roof_multiply_1_bf16(int rounds, float* __restrict__ out) {  // out: (threads)
  multiply<Bf16>(rounds, out);
}

extern "C" __global__ void roof_stream_1(unsigned long long vectors,
                                         const float4* __restrict__ x,  // (vectors)
                                         float4* __restrict__ y) {      // (vectors)
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= vectors) return;
  const float4 a = x[i], b = y[i];
  y[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

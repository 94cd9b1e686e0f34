// The 16-bit types of activations, and conversions. Twin: kernels/emulator/numbers.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ __forceinline__ float to_f32(float v) { return v; }
__device__ __forceinline__ float to_f32(bf16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float to_f32(f16 v) { return __half2float(v); }

// To the nearest T, ties to even.
template <class T>
__device__ __forceinline__ T from_f32(float v);
template <>
__device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <>
__device__ __forceinline__ bf16 from_f32<bf16>(float v) { return __float2bfloat16_rn(v); }
template <>
__device__ __forceinline__ f16 from_f32<f16>(float v) { return __float2half_rn(v); }

// Two values of T in one register, `low` in the lower half: what mma takes.
template <class T>
__device__ __forceinline__ unsigned pack(T low, T high) {
  static_assert(sizeof(T) == 2, "two halves make a register");
  return unsigned(reinterpret_cast<unsigned short&>(low)) | unsigned(reinterpret_cast<unsigned short&>(high)) << 16;
}

// The bits of v as a tf32 operand: to the nearest, ties away from zero; the low 13 bits are zero.
__device__ __forceinline__ unsigned to_tf32(float v) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
}

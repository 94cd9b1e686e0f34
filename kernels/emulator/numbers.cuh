// Twin of include/ptx/numbers.cuh: bfloat16 and half by their bits.
#pragma once

struct __align__(2) bf16 {
  uint16_t bits;
};

struct __align__(2) f16 {
  uint16_t bits;
};

inline float to_f32(float v) { return v; }
inline float to_f32(bf16 v) { return __uint_as_float(unsigned(v.bits) << 16); }

inline float to_f32(f16 v) {
  const unsigned sign = unsigned(v.bits & 0x8000) << 16, exponent = v.bits >> 10 & 31, mantissa = v.bits & 0x3ff;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | mantissa << 13);
  if (exponent > 0) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
  const float subnormal = float(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

template <class T>
T from_f32(float v);
template <>
inline float from_f32<float>(float v) { return v; }

// Adding half of the last kept place less one, plus that place's own bit, carries
// exactly when the nearest value lies above or a tie goes to the even one.
template <>
inline bf16 from_f32<bf16>(float v) {
  const unsigned bits = __float_as_uint(v);
  if (v != v) return {0x7fff};
  return {uint16_t((uint64_t(bits) + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <>
inline f16 from_f32<f16>(float v) {
  const unsigned bits = __float_as_uint(v), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {0x7fff};
  if (magnitude >= 0x47800000) return {uint16_t(sign | 0x7c00)};  // from 2^16 on
  if (magnitude < 0x38800000) {                                   // below 2^-14: multiples of 2^-24
    const float scaled = std::nearbyint(__uint_as_float(magnitude) * 0x1p24f);
    return {uint16_t(sign | unsigned(scaled))};
  }
  return {uint16_t(sign | ((magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13))};
}

template <class T>
unsigned pack(T low, T high) {
  static_assert(sizeof(T) == 2, "two halves make a register");
  return unsigned(low.bits) | unsigned(high.bits) << 16;
}

inline unsigned to_tf32(float v) {
  const unsigned bits = __float_as_uint(v);
  if ((bits & 0x7f800000) == 0x7f800000) return bits & ~0x1fffu;
  return (bits + 0x1000) & ~0x1fffu;
}

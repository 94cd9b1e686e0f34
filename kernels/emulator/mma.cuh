// Twin of include/ptx/mma.cuh: the last lane to arrive does the warp's work.
//
// The products of 16-bit and tf32 operands are exact in f64; their sum is rounded once.
// A tensor core keeps fewer bits between its additions: results may differ in the last places.
#pragma once

namespace emulator {

struct LoadLane {
  const unsigned char* row;
  unsigned result[4];
};

template <int matrices, bool transposed>
const char* load_matrices(void* const* lanes, uint32_t) {
  for (int m = 0; m < matrices; m++) {
    uint16_t matrix[8][8];
    for (int r = 0; r < 8; r++) {
      const unsigned char* row = static_cast<LoadLane*>(lanes[8 * m + r])->row;
      if (reinterpret_cast<uintptr_t>(row) % 16) return "a row is not aligned to 16 bytes";
      std::memcpy(matrix[r], row, 16);
    }
    for (int i = 0; i < 32; i++) {
      const int g = i / 4, t = i % 4;
      const unsigned low = transposed ? matrix[2 * t][g] : matrix[g][2 * t];
      const unsigned high = transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      static_cast<LoadLane*>(lanes[i])->result[m] = low | high << 16;
    }
  }
  return nullptr;
}

template <int matrices, bool transposed>
inline constexpr Collective ldmatrix = {"ldmatrix", load_matrices<matrices, transposed>};

template <int matrices, bool transposed>
void load(unsigned (&r)[matrices], const void* row, const Place& place) {
  LoadLane lane{static_cast<const unsigned char*>(row), {}};
  zfnet_emulator_meet(&ldmatrix<matrices, transposed>, 0xffffffffu, &lane, &place);
  for (int m = 0; m < matrices; m++) r[m] = lane.result[m];
}

struct MmaLane {
  float* c;
  const unsigned *a, *b;
};

inline double bf16_half(unsigned pair, int half) {
  return __uint_as_float(half ? pair & 0xffff0000u : pair << 16);
}

inline double tf32_value(unsigned bits) { return __uint_as_float(bits & ~0x1fffu); }

// Gathers a (16, depth) and b (depth, 8) from the lanes' registers, multiplies, hands out.
template <int depth>
void multiply(void* const* lanes, const double (&a)[16][depth], const double (&b)[depth][8]) {
  for (int i = 0; i < 32; i++) {
    float* c = static_cast<MmaLane*>(lanes[i])->c;
    for (int j = 0; j < 4; j++) {
      const int row = i / 4 + 8 * (j / 2), column = 2 * (i % 4) + j % 2;
      double sum = c[j];
      for (int k = 0; k < depth; k++) sum += a[row][k] * b[k][column];
      c[j] = float(sum);
    }
  }
}

inline const char* multiply_bf16(void* const* lanes, uint32_t) {
  double a[16][16], b[16][8];
  for (int i = 0; i < 32; i++) {
    const auto& lane = *static_cast<MmaLane*>(lanes[i]);
    const int g = i / 4, t = i % 4;
    for (int half = 0; half < 2; half++) {
      for (int r = 0; r < 4; r++) a[g + 8 * (r % 2)][2 * t + half + 8 * (r / 2)] = bf16_half(lane.a[r], half);
      for (int r = 0; r < 2; r++) b[2 * t + half + 8 * r][g] = bf16_half(lane.b[r], half);
    }
  }
  multiply<16>(lanes, a, b);
  return nullptr;
}

inline const char* multiply_tf32(void* const* lanes, uint32_t) {
  double a[16][8], b[8][8];
  for (int i = 0; i < 32; i++) {
    const auto& lane = *static_cast<MmaLane*>(lanes[i]);
    const int g = i / 4, t = i % 4;
    for (int r = 0; r < 4; r++) a[g + 8 * (r % 2)][t + 4 * (r / 2)] = tf32_value(lane.a[r]);
    for (int r = 0; r < 2; r++) b[t + 4 * r][g] = tf32_value(lane.b[r]);
  }
  multiply<8>(lanes, a, b);
  return nullptr;
}

inline constexpr Collective mma_bf16 = {"mma.sync (bf16)", multiply_bf16};
inline constexpr Collective mma_tf32 = {"mma.sync (tf32)", multiply_tf32};

}  // namespace emulator

inline void ldmatrix_x4(unsigned (&r)[4], const void* row, emulator::Place place = emulator::Place::here()) {
  emulator::load<4, false>(r, row, place);
}
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, emulator::Place place = emulator::Place::here()) {
  emulator::load<4, true>(r, row, place);
}
inline void ldmatrix_x2(unsigned (&r)[2], const void* row, emulator::Place place = emulator::Place::here()) {
  emulator::load<2, false>(r, row, place);
}
inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, emulator::Place place = emulator::Place::here()) {
  emulator::load<2, true>(r, row, place);
}

inline void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                              emulator::Place place = emulator::Place::here()) {
  emulator::MmaLane lane{c, a, b};
  zfnet_emulator_meet(&emulator::mma_bf16, 0xffffffffu, &lane, &place);
}
inline void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                             emulator::Place place = emulator::Place::here()) {
  emulator::MmaLane lane{c, a, b};
  zfnet_emulator_meet(&emulator::mma_tf32, 0xffffffffu, &lane, &place);
}

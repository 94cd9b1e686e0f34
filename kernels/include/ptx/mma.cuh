// Tensor cores, one warp at a time (sm_80). Twin: kernels/emulator/mma.cuh.
//
// With g = lane / 4 and t = lane % 4, a lane holds of a 16 x 8 accumulator
//   c[0], c[1]: row g, columns 2t and 2t + 1;   c[2], c[3]: row g + 8, the same columns.
#pragma once

// Loads four 8 x 8 matrices of 16-bit elements: lane i gives the address of row i % 8 of
// matrix i / 8 (16 bytes, aligned). r[m] is matrix m's row g, columns 2t and 2t + 1.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// As ldmatrix_x4, each matrix transposed: r[m] is rows 2t and 2t + 1 of column g.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// As ldmatrix_x4 with two matrices: lanes 0 to 15 give the rows, the others any valid address.
__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(address)
               : "memory");
}

// c += a b for a (16, 16) and b (16, 8) in bf16, pairs in a register:
//   a[0]: row g, columns 2t, 2t + 1;  a[1]: row g + 8;  a[2]: row g, columns 2t + 8, 2t + 9;  a[3]: row g + 8
//   b[0]: rows 2t, 2t + 1 of column g;  b[1]: rows 2t + 8, 2t + 9
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// c += a b for a (16, 8) and b (8, 8) in tf32, as to_tf32 makes them; lower bits are ignored:
//   a[0]: (g, t);  a[1]: (g + 8, t);  a[2]: (g, t + 4);  a[3]: (g + 8, t + 4);  b[0]: (t, g);  b[1]: (t + 4, g)
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

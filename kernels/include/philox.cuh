// Counter-based random numbers, Philox4x32-10: twin of src/philox.rs, which has the derivation.
#pragma once

// Four words from a 128-bit counter and a 64-bit key.
__device__ __forceinline__ uint4 philox4x32(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned a = 0xD2511F53u * counter.x, a_high = __umulhi(0xD2511F53u, counter.x);
    const unsigned b = 0xCD9E8D57u * counter.z, b_high = __umulhi(0xCD9E8D57u, counter.z);
    counter = make_uint4(b_high ^ counter.y ^ key.x, b, a_high ^ counter.w ^ key.y, a);
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

// What draws of one use share: `Stream` of src/philox.rs.
struct Stream {
  unsigned key[2];
  unsigned tag;
};

// Four words: block `block` of step `step`.
__device__ __forceinline__ uint4 stream_block(const Stream& stream, unsigned long long step,
                                              unsigned long long block) {
  const unsigned high = unsigned(block >> 32) ^ unsigned(step >> 32);
  return philox4x32(make_uint4(unsigned(block), high, unsigned(step), stream.tag),
                    make_uint2(stream.key[0], stream.key[1]));
}

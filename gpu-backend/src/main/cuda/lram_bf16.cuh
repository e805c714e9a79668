// Vectors of Bf16 in memory, fp32 in registers: four (8 bytes) and eight (16 bytes) elements. Single ones are converted by
// `widened` and `store` of lram_common.cuh.
//
// With inline PTX, which plain kernels have here and in lram_fp16.cuh alone: cvt.rn.bf16x2 rounds two numbers in one instruction and keeps NaN.
#pragma once
#include "lram_common.cuh"

namespace lram {

__device__ __forceinline__ float lowHalf(unsigned pair) { return __uint_as_float(pair << 16); }

__device__ __forceinline__ float highHalf(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

#ifdef LRAM_EMULATED
__device__ __forceinline__ unsigned pair(float low, float high) {
    return narrow(low) | static_cast<unsigned>(narrow(high)) << 16;
}
#else
__device__ __forceinline__ unsigned pair(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#endif

__device__ __forceinline__ void unpack4(const uint2& v, float* x) {
    x[0] = lowHalf(v.x);
    x[1] = highHalf(v.x);
    x[2] = lowHalf(v.y);
    x[3] = highHalf(v.y);
}

__device__ __forceinline__ uint2 pack4(const float* x) {
    uint2 v;
    v.x = pair(x[0], x[1]);
    v.y = pair(x[2], x[3]);
    return v;
}

__device__ __forceinline__ void unpack8(const uint4& v, float* x) {
    x[0] = lowHalf(v.x);
    x[1] = highHalf(v.x);
    x[2] = lowHalf(v.y);
    x[3] = highHalf(v.y);
    x[4] = lowHalf(v.z);
    x[5] = highHalf(v.z);
    x[6] = lowHalf(v.w);
    x[7] = highHalf(v.w);
}

__device__ __forceinline__ uint4 pack8(const float* x) {
    uint4 v;
    v.x = pair(x[0], x[1]);
    v.y = pair(x[2], x[3]);
    v.z = pair(x[4], x[5]);
    v.w = pair(x[6], x[7]);
    return v;
}

__device__ __forceinline__ void unpack(const float4& v, float* x) {
    x[0] = v.x;
    x[1] = v.y;
    x[2] = v.z;
    x[3] = v.w;
}

__device__ __forceinline__ float4 packFloats(const float* x) {
    float4 v;
    v.x = x[0];
    v.y = x[1];
    v.z = x[2];
    v.w = x[3];
    return v;
}

__device__ __forceinline__ uint2 load8Bytes(const Bf16* p) { return *reinterpret_cast<const uint2*>(p); }

__device__ __forceinline__ uint4 load16Bytes(const Bf16* p) { return *reinterpret_cast<const uint4*>(p); }

__device__ __forceinline__ float4 loadFloats(const float* p) { return *reinterpret_cast<const float4*>(p); }

__device__ __forceinline__ void store(Bf16* p, const uint2& v) { *reinterpret_cast<uint2*>(p) = v; }

__device__ __forceinline__ void store(Bf16* p, const uint4& v) { *reinterpret_cast<uint4*>(p) = v; }

__device__ __forceinline__ void store(float* p, const float4& v) { *reinterpret_cast<float4*>(p) = v; }

// Four numbers as the sums of bf16 numbers each: three hold all of their 24 bits, of two 2^-17 of a number is lost at most.
template <int PARTS>
__device__ __forceinline__ void inBf16(float (&rest)[4], uint2 (&parts)[PARTS]) {
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        parts[part] = pack4(rest);
        float taken[4];
        unpack4(parts[part], taken);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            rest[j] -= taken[j];
        }
    }
}

// In bf16 nothing is gained by the last bits of an exponential: these are the device's fast ones, 2 units in the last
// place of fp32.
__device__ __forceinline__ float quickSigmoid(float x) {
#ifdef LRAM_EMULATED
    return 1.f / (1.f + expf(-x));
#else
    return __fdividef(1.f, 1.f + __expf(-x));
#endif
}

}  // namespace lram

// Rows of numbers in fp16, each row times a power of two, so that fp16 holds what it can of them: storage only, as Bf16.
//
// With inline PTX, as lram_bf16.cuh: cvt.rn.f16x2 rounds two numbers in one instruction and keeps NaN.
#pragma once
#include "lram_bf16.cuh"

namespace lram {

struct Fp16 {
    unsigned short bits;
};

__device__ __forceinline__ void store(Fp16* p, const uint2& v) { *reinterpret_cast<uint2*>(p) = v; }

#ifdef LRAM_EMULATED
// The nearest fp16, ties to even; infinite from 65520 on.
__device__ __forceinline__ unsigned short fp16Of(float x) {
    const unsigned bits = __float_as_uint(x);
    const unsigned magnitude = bits & 0x7fffffffu;
    unsigned half = 0;
    if (magnitude > 0x7f800000u) {
        half = 0x7fffu;
    } else if (magnitude >= 0x477ff000u) {
        half = 0x7c00u;
    } else if (magnitude < 0x38800000u) {  // below 2^-14: multiples of 2^-24
        half = static_cast<unsigned>(rintf(__uint_as_float(magnitude) * 0x1p24f));
    } else {
        half = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    }
    return static_cast<unsigned short>(half | (bits >> 16 & 0x8000u));
}

__device__ __forceinline__ float widened(Fp16 x) {
    const unsigned magnitude = x.bits & 0x7fffu;
    const float scaled = __uint_as_float(magnitude << 13) * 0x1p112f;
    const float value = magnitude < 0x7c00u ? scaled : __uint_as_float(magnitude << 13 | 0x7f800000u);
    return x.bits & 0x8000u ? -value : value;
}

__device__ __forceinline__ unsigned fp16Pair(float low, float high) {
    return fp16Of(low) | static_cast<unsigned>(fp16Of(high)) << 16;
}

__device__ __forceinline__ void unpackFp16(unsigned both, float& low, float& high) {
    low = widened(Fp16{static_cast<unsigned short>(both)});
    high = widened(Fp16{static_cast<unsigned short>(both >> 16)});
}
#else
__device__ __forceinline__ unsigned fp16Pair(float low, float high) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ void unpackFp16(unsigned both, float& low, float& high) {
    asm("{\n"
        ".reg .b16 l, h;\n"
        "mov.b32 {l, h}, %2;\n"
        "cvt.f32.f16 %0, l;\n"
        "cvt.f32.f16 %1, h;\n"
        "}"
        : "=f"(low), "=f"(high)
        : "r"(both));
}
#endif

// The power of two that brings a row's largest magnitude into [2^14, 2^15), or below where that is less than 2^-112, and its
// inverse. Not a number where the largest is none or infinite.
struct PowerOfRow {
    float by;
    float back;

    __device__ __forceinline__ explicit PowerOfRow(float largest) {
        const int exponent = static_cast<int>(__float_as_uint(largest) >> 23 & 0xffu);
        const int scaled = min(2 * 127 + 14 - exponent, 2 * 127 - 1);
        const bool finite = exponent < 255;
        by = __uint_as_float(finite ? static_cast<unsigned>(scaled) << 23 : 0x7fffffffu);
        back = __uint_as_float(finite ? static_cast<unsigned>(2 * 127 - scaled) << 23 : 0x7fffffffu);
    }
};

constexpr float LOW_PART = 0x1p-12f;  // of which the second part is a multiple

// Four numbers of a row times its power, rounded. Of a number x of a row with the largest a what is lost is at most 2^-11 |x| or
// 2^-39 a, whichever is more: fp16 holds 11 bits and a sign, and multiples of 2^-24.
__device__ __forceinline__ void inFp16(const float (&x)[4], float by, uint2 (&parts)[1]) {
    parts[0].x = fp16Pair(x[0] * by, x[1] * by);
    parts[0].y = fp16Pair(x[2] * by, x[3] * by);
}

// The same as high + LOW_PART low: at most 2^-23 |x| or 2^-51 a is lost.
__device__ __forceinline__ void inFp16(const float (&x)[4], float by, uint2 (&parts)[2]) {
    float rest[4];
    float high[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
        rest[j] = x[j] * by;
    }
    parts[0].x = fp16Pair(rest[0], rest[1]);
    parts[0].y = fp16Pair(rest[2], rest[3]);
    unpackFp16(parts[0].x, high[0], high[1]);
    unpackFp16(parts[0].y, high[2], high[3]);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        rest[j] = (rest[j] - high[j]) * (1.f / LOW_PART);
    }
    parts[1].x = fp16Pair(rest[0], rest[1]);
    parts[1].y = fp16Pair(rest[2], rest[3]);
}

}  // namespace lram

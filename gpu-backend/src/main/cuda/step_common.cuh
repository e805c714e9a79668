// What the kernels of the control step share: quads of floats, bf16 and int8, sums of groups, exponentials of doubles.
#pragma once
#include "lram_common.cuh"

namespace lram {

constexpr int TOKENS = 3;  // of a session, at most, and rows of a dot product

__host__ __device__ constexpr int most(int a, int b) { return a > b ? a : b; }

__host__ __device__ constexpr int least(int a, int b) { return a < b ? a : b; }

__device__ __forceinline__ float4 load4(const float* w) { return *reinterpret_cast<const float4*>(w); }

__device__ __forceinline__ float4 widened(const float4& x) { return x; }

// Of four bf16 numbers.
__device__ __forceinline__ float4 widened(const uint2& bits) {
    float4 x;
    x.x = __uint_as_float(bits.x << 16);
    x.y = __uint_as_float(bits.x & 0xffff0000u);
    x.z = __uint_as_float(bits.y << 16);
    x.w = __uint_as_float(bits.y & 0xffff0000u);
    return x;
}

// Of four int8 numbers.
__device__ __forceinline__ float4 widened(unsigned bits) {
    float4 x;
    x.x = static_cast<signed char>(bits & 0xffu);
    x.y = static_cast<signed char>(bits >> 8 & 0xffu);
    x.z = static_cast<signed char>(bits >> 16 & 0xffu);
    x.w = static_cast<signed char>(bits >> 24);
    return x;
}

__device__ __forceinline__ float4 none() {
    float4 x;
    x.x = x.y = x.z = x.w = 0.f;
    return x;
}

__device__ __forceinline__ float dot4(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

__device__ __forceinline__ void addTimes(float a, const float4& x, float* sum) {
    sum[0] = fmaf(a, x.x, sum[0]);
    sum[1] = fmaf(a, x.y, sum[1]);
    sum[2] = fmaf(a, x.z, sum[2]);
    sum[3] = fmaf(a, x.w, sum[3]);
}

// Over groups of LANES lanes, for all of them.
template <int LANES>
__device__ __forceinline__ float groupSum(float x) {
#pragma unroll
    for (int d = LANES / 2; d > 0; d /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, d);
    }
    return x;
}

// Sums of ALL numbers over the lanes at once, a power of two: lane i gets that of number i % ALL.
template <int ALL>
__device__ __forceinline__ float sumsOf(float (&x)[ALL]) {
#pragma unroll
    for (int bit = 1; bit < ALL; bit *= 2) {
        const bool odd = lane() & bit;
#pragma unroll
        for (int i = 0; i < ALL / (2 * bit); i++) {
            const float mine = odd ? x[2 * i + 1] : x[2 * i];
            x[i] = mine + __shfl_xor_sync(0xffffffffu, odd ? x[2 * i] : x[2 * i + 1], bit);
        }
    }
    float sum = x[0];
#pragma unroll
    for (int d = ALL; d < 32; d *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    }
    return sum;
}

// Three sums over the lanes at once: lane 0 gets the first, lane 1 the second, lane 2 the third.
__device__ __forceinline__ float threeSums(int own, float a, float b, float c) {
    const bool odd = own & 1;
    const bool high = own & 2;
    float first = odd ? b : a;
    first += __shfl_xor_sync(0xffffffffu, odd ? a : b, 1);
    c += __shfl_xor_sync(0xffffffffu, c, 1);
    float sum = high ? c : first;
    sum += __shfl_xor_sync(0xffffffffu, high ? first : c, 2);
#pragma unroll
    for (int d = 4; d < 32; d *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    }
    return sum;
}

__device__ __forceinline__ double warpTop(double x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        x = fmax(x, __shfl_xor_sync(0xffffffffu, x, d));
    }
    return x;
}

// e^x to fp32 accuracy: the part of x that a float cannot hold goes in as a factor.
__device__ __forceinline__ float expOf(double x) {
    const float high = static_cast<float>(x);
    const float low = static_cast<float>(x - static_cast<double>(high));
    const float e = expf(high);
    return low == low ? fmaf(e, low, e) : e;  // of an infinity the rest is not a number
}

__device__ __forceinline__ float logSigmoidFloat(float x) { return fminf(x, 0.f) - log1pf(expf(-fabsf(x))); }

}  // namespace lram

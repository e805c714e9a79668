// What logits are decided to be: the most likely of those that a session's task allows, and the number it or all of them stand for.
//
// Contract: ai.lram.backend.ops.StepChoice. A row's dimension is the work of some warps, all of whose threads take part.
#pragma once
#include "lram_common.cuh"

namespace lram {

struct Choice {
    const int* slots;     // (B)
    const int* ranges;    // (P, 2), from and to
    const float* values;  // (V)
    int* chosen;          // (B, A)
    float* numbers;       // (B, A)
    Faults faults;
    int pool;
    int mean;
};

// Logits of a dimension that may be chosen.
struct ChoiceRange {
    int from;
    int to;
};

// Of a row of that slot; the slot is read long before.
__device__ __forceinline__ ChoiceRange choiceRange(const Choice& c, int slot, int size) {
    ChoiceRange r = {0, 0};
    if (static_cast<unsigned>(slot) < static_cast<unsigned>(c.pool)) {
        r.from = c.ranges[2 * slot];
        r.to = c.ranges[2 * slot + 1];
    }
    if (r.from < 0 || r.to > size) {
        r.to = r.from;
    }
    return r;
}

constexpr unsigned NOT_FINITE = 0xffffffffu;

// Ordered as logits are, above zero; both zeros have the same, and what is not finite the largest.
__device__ __forceinline__ unsigned choiceKey(float x) {
    const unsigned bits = __float_as_uint(x + 0.f);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
        return NOT_FINITE;
    }
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logitOf(unsigned key) {
    return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

// The largest key, and the lowest index that has it.
struct Top {
    unsigned key;
    unsigned index;

    __device__ __forceinline__ void add(unsigned otherKey, int otherIndex) {  // indices rise
        if (otherKey > key) {
            key = otherKey;
            index = static_cast<unsigned>(otherIndex);
        }
    }
};

#ifdef LRAM_EMULATED
__device__ __forceinline__ Top warpTop(Top x) {
    for (int d = 16; d > 0; d /= 2) {
        const unsigned key = __shfl_xor_sync(0xffffffffu, x.key, d);
        const unsigned index = __shfl_xor_sync(0xffffffffu, x.index, d);
        if (key > x.key || (key == x.key && index < x.index)) {
            x = {key, index};
        }
    }
    return x;
}
#else
__device__ __forceinline__ Top warpTop(Top x) {
    const unsigned key = __reduce_max_sync(0xffffffffu, x.key);
    return {key, __reduce_min_sync(0xffffffffu, x.key == key ? x.index : 0xffffffffu)};
}
#endif

// Decides dimension `dim` of `row` from its `size` logits, by WARPS warps that lie together. A thread holds AHEAD logits, and
// reads those beyond again (MORE). Every thread of the block comes along.
template <int WARPS, int AHEAD, bool MORE>
__device__ __forceinline__ void choose(const Choice& c, const float* logits, int size, ChoiceRange range, int slot,
                                       int row, int dim, int dims, bool writes) {
    constexpr int STRIDE = 32 * WARPS;
    __shared__ Top tops[LRAM_WARPS];
    __shared__ double weights[LRAM_WARPS];
    __shared__ double sums[LRAM_WARPS];
    const int at = static_cast<int>(threadIdx.x) % STRIDE;
    const int share = warp() / WARPS * WARPS + lane() % WARPS;  // of the row's warps, which this lane adds
    float logit[AHEAD];
    float value[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
        const int i = at + k * STRIDE;
        const bool in = i >= range.from && i < range.to;
        logit[k] = in ? logits[i] : 0.f;
        value[k] = in && c.mean ? c.values[i] : 0.f;
    }
    Top top = {0, NOT_FINITE};
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
        const int i = at + k * STRIDE;
        top.add(i >= range.from && i < range.to ? choiceKey(logit[k]) : 0u, i);
    }
    if (MORE) {
        for (int i = at + AHEAD * STRIDE; i < range.to; i += STRIDE) {
            top.add(i >= range.from ? choiceKey(logits[i]) : 0u, i);
        }
    }
    top = warpTop(top);
    if (lane() == 0) {
        tops[warp()] = top;
    }
    __syncthreads();
    top = warpTop(tops[share]);
    const bool fine = top.key != 0 && top.key != NOT_FINITE;
    float number = 0.f;
    if (c.mean) {
        const float most = logitOf(top.key);
        double weight = 0;
        double sum = 0;
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int i = at + k * STRIDE;
            const double e = i >= range.from && i < range.to ? exp(static_cast<double>(logit[k] - most)) : 0.0;
            weight += e;
            sum = fma(e, static_cast<double>(value[k]), sum);
        }
        if (MORE) {
            for (int i = at + AHEAD * STRIDE; i < range.to; i += STRIDE) {
                const double e = i >= range.from ? exp(static_cast<double>(logits[i] - most)) : 0.0;
                weight += e;
                sum = fma(e, static_cast<double>(c.values[i]), sum);
            }
        }
        weight = warpSum(weight);
        sum = warpSum(sum);
        if (lane() == 0) {
            weights[warp()] = weight;
            sums[warp()] = sum;
        }
        __syncthreads();
        weight = weights[share];
        sum = sums[share];
#pragma unroll
        for (int d = WARPS / 2; d > 0; d /= 2) {
            weight += __shfl_xor_sync(0xffffffffu, weight, d);
            sum += __shfl_xor_sync(0xffffffffu, sum, d);
        }
        number = static_cast<float>(sum / weight);
    }
    if (writes && at == 0) {
        if (fine && !c.mean) {
            number = c.values[top.index];
        }
        c.chosen[row * dims + dim] = fine ? static_cast<int>(top.index) : -1;
        c.numbers[row * dims + dim] = fine ? number : __uint_as_float(0x7fc00000u);
        if (static_cast<unsigned>(slot) >= static_cast<unsigned>(c.pool)) {
            reportFault(c.faults, FAULT_SLOT, row, slot, c.pool - 1);
        }
    }
}

}  // namespace lram

// Softmax attention of a session's new tokens over its cached keys and values, read once by blocks that share a head's
// cache.
//
// Contract: ai.lram.backend.ops.AttentionOps.cachedStep for heads of 8, 16, ... 256 columns and up to 4 new tokens. A block
// takes a run of the tokens that are there (the grid is that of a full cache: blocks beyond leave at once) and answers all
// new tokens, each as a running softmax; the block of a head that ends last adds the runs' answers in order, so nothing waits
// and the same inputs give the same bits. 8 columns of a token are a lane's. The block whose run holds the row that a new
// token takes writes it, behind its own reads.
//
// Bytes: 8 D NH of each cached token, the first of them read before the kernel before has ended. Inline PTX: step_fetch.cuh, step_arrive.cuh.
//
// Compile:  as elementwise.cu, with the sizes that AttentionSteps.java defines.
#ifndef ATTENTION_DIM  // the sizes of a small model, for a look at the machine code
#define ATTENTION_DIM 64
#define ATTENTION_TOKENS 3
#endif
#include "lram_bf16.cuh"
#include "step_common.cuh"
#include "step_fetch.cuh"

namespace lram {

constexpr int DIM = ATTENTION_DIM;
constexpr int QUERIES = ATTENTION_TOKENS;
constexpr int LANES = DIM / 8;                 // that share a token
constexpr int GROUPS = LRAM_THREADS / LANES;   // tokens that a block reads at a time
constexpr int AT_ONCE = DIM <= 16 ? 1 : 2;     // of a lane on their way
constexpr int LEAST = 32;                      // tokens of a run
constexpr int MOST_RUNS = 32;                  // of a head
constexpr int PART = QUERIES * (DIM + 2);      // a run's answers, their tops, their sums
constexpr int VALUES = QUERIES * DIM;
constexpr int AHEAD = 8;                       // runs whose answers are asked for at once

struct AttentionStep {
    const int* slots;
    const int* counts;
    const float* q;
    const float* k;
    const float* v;
    float* keys;
    float* values;
    const int* length;
    float* y;
    float* parts;       // (B, NH, runs, PART)
    unsigned* arrived;  // runs of a head that have ended, (B, NH): zero between launches; null where a head is one run
    Fetched next;
    int pool;
    int heads;
    int capacity;
    float share;  // 1 / runs
    float scale;
    Faults faults;
};

// A lane's columns: four, and four in the other half, so that lanes beside each other read one piece.
__device__ __forceinline__ void loadOwn(bool there, const float* row, int l, float4 (&to)[2]) {
    to[0] = there ? load4(row + 4 * l) : none();
    to[1] = there ? load4(row + DIM / 2 + 4 * l) : none();
}

__device__ __forceinline__ float lowest() { return -__int_as_float(0x7f800000); }

// What a softmax is worth under the top of several.
__device__ __forceinline__ float decay(float top, float common) {
    return expf(top == common ? 0.f : top - common);
}

// A group's softmax over its tokens, for each query.
struct Softmax {
    float top[QUERIES];
    float sum[QUERIES];
    float out[QUERIES][8];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int t = 0; t < QUERIES; t++) {
            top[t] = lowest();
            sum[t] = 0.f;
#pragma unroll
            for (int c = 0; c < 8; c++) {
                out[t][c] = 0.f;
            }
        }
    }

    __device__ __forceinline__ void scaleBy(int t, float factor) {
        sum[t] *= factor;
#pragma unroll
        for (int c = 0; c < 8; c++) {
            out[t][c] *= factor;
        }
    }

    // Of the tokens whose score a query sees.
    __device__ __forceinline__ void add(int t, const float (&score)[AT_ONCE], const bool (&seen)[AT_ONCE],
                                        const float4 (&v)[AT_ONCE][2]) {
        float next = top[t];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            next = seen[u] ? fmaxf(next, score[u]) : next;
        }
        scaleBy(t, decay(top[t], next));
        top[t] = next;
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const float weight = expf(seen[u] ? score[u] - next : 0.f);
            if (seen[u]) {  // what is not seen may be no number
                sum[t] += weight;
                addTimes(weight, v[u][0], out[t]);
                addTimes(weight, v[u][1], out[t] + 4);
            }
        }
    }

    // The groups of a warp, for all of them.
    __device__ __forceinline__ void join(int t) {
        float common = top[t];
#pragma unroll
        for (int d = LANES; d < 32; d *= 2) {
            common = fmaxf(common, __shfl_xor_sync(0xffffffffu, common, d));
        }
        scaleBy(t, decay(top[t], common));
        top[t] = common;
#pragma unroll
        for (int d = LANES; d < 32; d *= 2) {
            sum[t] += __shfl_xor_sync(0xffffffffu, sum[t], d);
#pragma unroll
            for (int c = 0; c < 8; c++) {
                out[t][c] += __shfl_xor_sync(0xffffffffu, out[t][c], d);
            }
        }
    }
};

}  // namespace lram

using namespace lram;

// Grid (runs, heads, rows).
LRAM_KERNEL_OF(attention_step, AttentionStep, LRAM_THREADS, (QUERIES <= 3 ? 2 : 1)) {
    __shared__ float4 outs[LRAM_WARPS][VALUES / 4];
    __shared__ float tops[LRAM_WARPS][QUERIES];
    __shared__ float sums[LRAM_WARPS][QUERIES];
    __shared__ float weights[QUERIES][MOST_RUNS];
    __shared__ bool last;
    const int thread = static_cast<int>(threadIdx.x);
    const int head = static_cast<int>(blockIdx.y);
    const int b = static_cast<int>(blockIdx.z);
    letNextBegin();
    // Who is next and what is cached has been there since before the kernels of this step that may still run: only what these
    // make is waited for. That slots are right is not known before either.
    const int named = p.slots[b];
    const int slot = named >= 0 && named < p.pool ? named : 0;
    const int count = p.counts[b];
    const int length = p.length[slot];
    const int old = min(length, p.capacity);
    const int all = old + count;
    const int run = max(LEAST, (static_cast<int>(static_cast<float>(all) * p.share) + 8) & ~7);
    const int start = static_cast<int>(blockIdx.x) * run;
    if (count == 0 || start >= all) {
        awaitBefore();
        p.next.fetch();
        return;
    }
    const int end = min(start + run, all);
    const int runs = (all + run - 1) / run;
    const int oldest = length < p.capacity ? length : length % p.capacity;  // its row, once the cache is full
    const int first = QUERIES - count;  // the row's tokens begin there
    const long long pitch = static_cast<long long>(p.heads) * DIM;
    const long long cache = static_cast<long long>(slot) * p.capacity * pitch + static_cast<long long>(head) * DIM;
    const long long newest = (static_cast<long long>(b) * QUERIES * p.heads + head) * DIM;  // where queries begin
    const int l = thread % LANES;
    const int group = thread / LANES;

    const auto read = [&](int at, bool cached, float4(&k)[AT_ONCE][2], float4(&v)[AT_ONCE][2]) {
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int n = at + u * GROUPS + group;
            if (n < end && (n < old) == cached) {  // behind the cached ones lie the new ones
                const long long row = cached ? cache + n * pitch : newest + (first + n - old) * pitch;
                loadOwn(true, (cached ? p.keys : p.k) + row, l, k[u]);
                loadOwn(true, (cached ? p.values : p.v) + row, l, v[u]);
            }
        }
    };
    float4 k[AT_ONCE][2] = {};
    float4 v[AT_ONCE][2] = {};
    read(start, true, k, v);
    awaitBefore();
    const bool wrong = faulted(p.faults);
    float4 q[QUERIES][2];
#pragma unroll
    for (int t = 0; t < QUERIES; t++) {
        loadOwn(t >= first, p.q + newest + t * pitch, l, q[t]);
    }
    if (wrong) {
        return;
    }
    Softmax softmax;
    softmax.clear();
    for (int at = start; at < end; at += AT_ONCE * GROUPS) {
        if (at > start) {
            read(at, true, k, v);
        }
        read(at, false, k, v);
#pragma unroll
        for (int t = 0; t < QUERIES; t++) {
            float score[AT_ONCE];
            bool seen[AT_ONCE];
#pragma unroll
            for (int u = 0; u < AT_ONCE; u++) {
                const int n = at + u * GROUPS + group;
                score[u] = p.scale * groupSum<LANES>(dot4(q[t][1], k[u][1], dot4(q[t][0], k[u][0], 0.f)));
                // How many tokens later a cached one's row is taken; a new one is seen from itself on.
                const int left = n < oldest ? n - oldest + p.capacity : n - oldest;
                const int later = t - first - (n - old);
                seen[u] = n < end && (n < old ? left > t - first : later >= 0 && later < p.capacity);
            }
            softmax.add(t, score, seen, v);
        }
    }
#pragma unroll
    for (int t = 0; t < QUERIES; t++) {
        softmax.join(t);
        if (lane() < LANES) {
            outs[warp()][(t * DIM + 4 * l) / 4] = packFloats(softmax.out[t]);
            outs[warp()][(t * DIM + DIM / 2 + 4 * l) / 4] = packFloats(softmax.out[t] + 4);
            tops[warp()][t] = softmax.top[t];  // lanes of the same group: the same value
            sums[warp()][t] = softmax.sum[t];
        }
    }
    __syncthreads();
    const long long unit = static_cast<long long>(b) * p.heads + head;
    float* parts = p.parts + unit * gridDim.x * PART;
    float* mine = parts + static_cast<long long>(blockIdx.x) * PART;
    for (int i = thread; i < VALUES; i += LRAM_THREADS) {
        const int t = i / DIM;
        float top = tops[0][t];
#pragma unroll
        for (int w = 1; w < LRAM_WARPS; w++) {
            top = fmaxf(top, tops[w][t]);
        }
        float sum = 0.f;
        float out = 0.f;
#pragma unroll
        for (int w = 0; w < LRAM_WARPS; w++) {
            const float factor = decay(tops[w][t], top);
            sum = fmaf(sums[w][t], factor, sum);
            out = fmaf(reinterpret_cast<const float*>(outs[w])[i], factor, out);
        }
        if (runs > 1) {
            mine[i] = out;
            if (i % DIM == 0) {
                mine[VALUES + t] = top;
                mine[VALUES + QUERIES + t] = sum;
            }
        } else if (t >= first) {
            p.y[newest + t * pitch + i % DIM] = out / sum;
        }
    }
    for (int i = thread; i < count * (DIM / 4); i += LRAM_THREADS) {
        const int j = i / (DIM / 4);
        const int c = 4 * (i % (DIM / 4));
        int row = oldest + j;
        while (row >= p.capacity) {
            row -= p.capacity;
        }
        if (row >= start && row < end && j + p.capacity >= count) {  // of two that take the same row the later one
            const long long from = newest + (first + j) * pitch + c;
            *reinterpret_cast<float4*>(p.keys + cache + row * pitch + c) = load4(p.k + from);
            *reinterpret_cast<float4*>(p.values + cache + row * pitch + c) = load4(p.v + from);
        }
    }
    p.next.fetch();
    if (runs == 1) {
        return;
    }
    __syncthreads();
    if (thread == 0) {
        last = arrive(p.arrived + unit) == static_cast<unsigned>(runs - 1);
        if (last) {
            p.arrived[unit] = 0;
        }
    }
    __syncthreads();
    if (!last) {
        return;
    }
    float ahead[AHEAD];
#pragma unroll
    for (int s = 0; s < AHEAD; s++) {
        ahead[s] = s < runs && thread < VALUES ? parts[s * PART + thread] : 0.f;
    }
    if (warp() < QUERIES) {
        const bool there = lane() < runs;
        const float* own = parts + lane() * PART + VALUES + warp();
        const float top = there ? own[0] : lowest();
        const float sum = there ? own[QUERIES] : 0.f;
        const float factor = decay(top, warpMax(top));
        weights[warp()][lane()] = factor / warpSum(factor * sum);
    }
    __syncthreads();
    for (int i = thread; i < VALUES; i += LRAM_THREADS) {
        const int t = i / DIM;
        float out = 0.f;
        for (int from = 0; from < runs; from += AHEAD) {
            if (from > 0 || i != thread) {
#pragma unroll
                for (int s = 0; s < AHEAD; s++) {
                    ahead[s] = from + s < runs ? parts[(from + s) * PART + i] : 0.f;
                }
            }
#pragma unroll
            for (int s = 0; s < AHEAD; s++) {
                if (from + s < runs) {
                    out = fmaf(ahead[s], weights[t][from + s], out);
                }
            }
        }
        if (t >= first) {
            p.y[newest + t * pitch + i % DIM] = out;
        }
    }
}

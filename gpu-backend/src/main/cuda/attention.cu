// Causal softmax attention, its gradient, and the step over a cache: one warp a query (or key, for the gradients of keys
// and values).
//
// Contract: ai.lram.backend.ops.AttentionOps, for head sizes up to 256. 32 keys at a time: a lane forms its key's score,
// then all lanes add the values with weights passed from lane to lane, a lane owning every 32nd column. For the
// transformer baseline and its checks; keys and values are read once per query.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

constexpr int PER_LANE = 8;  // columns of a head that a lane owns: 256 in all

struct Attention {
    const float* q;
    const float* k;
    const float* v;
    float* y;
    float* lse;  // may be null
    long long units;
    int tokens;
    int heads;
    int dim;
    float scale;
};

struct AttentionDelta {
    const float* y;
    const float* dy;
    float* delta;  // (B, NH, S)
    long long units;
    int tokens;
    int heads;
    int dim;
};

struct AttentionBackward {
    const float* q;
    const float* k;
    const float* v;
    const float* lse;
    const float* dy;
    const float* delta;
    float* dq;
    float* dk;
    float* dv;
    long long units;
    int tokens;
    int heads;
    int dim;
    float scale;
};

struct CachedStep {
    const int* slots;
    const int* counts;
    const float* q;
    const float* k;
    const float* v;
    float* keys;
    float* values;
    const int* length;
    float* y;
    int rows;
    int tokens;
    int heads;
    int dim;
    int capacity;
    float scale;
    Faults faults;
};

struct CachedAdvance {
    const int* slots;
    const int* counts;
    int* length;
    int rows;
    int capacity;
    Faults faults;
};

__device__ __forceinline__ float dot(const float* a, const float* b, int n) {
    float s0 = 0.f;
    float s1 = 0.f;
    float s2 = 0.f;
    float s3 = 0.f;
    int j = 0;
    for (; j + 4 <= n; j += 4) {
        s0 = fmaf(a[j], b[j], s0);
        s1 = fmaf(a[j + 1], b[j + 1], s1);
        s2 = fmaf(a[j + 2], b[j + 2], s2);
        s3 = fmaf(a[j + 3], b[j + 3], s3);
    }
    for (; j < n; j++) {
        s0 = fmaf(a[j], b[j], s0);
    }
    return (s0 + s1) + (s2 + s3);
}

// Where a unit (batch, head, token) begins in (B, S, NH, D) rows.
__device__ __forceinline__ long long rowOf(long long unit, int tokens, int heads) {
    long long token = unit % tokens;
    long long pair = unit / tokens;
    return ((pair / heads) * tokens + token) * heads + pair % heads;
}

// Running softmax of one query over keys that arrive 32 at a time.
struct Running {
    float top;
    float sum;
    float out[PER_LANE];

    __device__ void clear() {
        top = -__int_as_float(0x7f800000);
        sum = 0.f;
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            out[c] = 0.f;
        }
    }

    // `score` of this lane's key, of which the first `count` lanes have one; values of key j start at v + j * pitch.
    __device__ void add(float score, int count, const float* v, long long pitch, int dim) {
        float own = lane() < count ? score : -__int_as_float(0x7f800000);
        float next = fmaxf(top, warpMax(own));
        float weight = lane() < count ? expf(score - next) : 0.f;
        float decay = top == next ? 1.f : expf(top - next);
        sum = fmaf(sum, decay, warpSum(weight));
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            out[c] *= decay;
        }
        for (int j = 0; j < count; j++) {
            float w = __shfl_sync(0xffffffffu, weight, j);
            const float* row = v + j * pitch;
#pragma unroll
            for (int c = 0; c < PER_LANE; c++) {
                int column = 32 * c + lane();
                if (column < dim) {
                    out[c] = fmaf(w, row[column], out[c]);
                }
            }
        }
        top = next;
    }
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(attention_forward, Attention) {
    const long long pitch = static_cast<long long>(p.heads) * p.dim;
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const int token = static_cast<int>(unit % p.tokens);
        const long long row = rowOf(unit, p.tokens, p.heads);
        const long long first = row - static_cast<long long>(token) * p.heads;
        const float* q = p.q + row * p.dim;
        Running r;
        r.clear();
        for (int s = 0; s <= token; s += 32) {
            int count = min(32, token + 1 - s);
            long long at = (first + static_cast<long long>(s) * p.heads) * p.dim;
            float score = lane() < count ? p.scale * dot(q, p.k + at + lane() * pitch, p.dim) : 0.f;
            r.add(score, count, p.v + at, pitch, p.dim);
        }
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            int column = 32 * c + lane();
            if (column < p.dim) {
                p.y[row * p.dim + column] = r.out[c] / r.sum;
            }
        }
        if (p.lse != nullptr && lane() == 0) {
            p.lse[unit] = r.top + logf(r.sum);
        }
    }
}

LRAM_KERNEL(attention_delta, AttentionDelta) {
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const long long row = rowOf(unit, p.tokens, p.heads) * p.dim;
        float sum = 0.f;
        for (int j = lane(); j < p.dim; j += 32) {
            sum = fmaf(p.y[row + j], p.dy[row + j], sum);
        }
        sum = warpSum(sum);
        if (lane() == 0) {
            p.delta[unit] = sum;
        }
    }
}

LRAM_KERNEL(attention_query_gradient, AttentionBackward) {
    const long long pitch = static_cast<long long>(p.heads) * p.dim;
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const int token = static_cast<int>(unit % p.tokens);
        const long long row = rowOf(unit, p.tokens, p.heads);
        const long long first = row - static_cast<long long>(token) * p.heads;
        const float* q = p.q + row * p.dim;
        const float* dy = p.dy + row * p.dim;
        float out[PER_LANE] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
        for (int s = 0; s <= token; s += 32) {
            int count = min(32, token + 1 - s);
            long long at = (first + static_cast<long long>(s) * p.heads) * p.dim;
            float weight = 0.f;
            if (lane() < count) {
                float score = p.scale * dot(q, p.k + at + lane() * pitch, p.dim);
                float slope = dot(dy, p.v + at + lane() * pitch, p.dim) - p.delta[unit];
                weight = expf(score - p.lse[unit]) * slope * p.scale;
            }
            for (int j = 0; j < count; j++) {
                float w = __shfl_sync(0xffffffffu, weight, j);
                const float* k = p.k + at + j * pitch;
#pragma unroll
                for (int c = 0; c < PER_LANE; c++) {
                    int column = 32 * c + lane();
                    if (column < p.dim) {
                        out[c] = fmaf(w, k[column], out[c]);
                    }
                }
            }
        }
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            int column = 32 * c + lane();
            if (column < p.dim) {
                p.dq[row * p.dim + column] = out[c];
            }
        }
    }
}

LRAM_KERNEL(attention_key_gradient, AttentionBackward) {
    const long long pitch = static_cast<long long>(p.heads) * p.dim;
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const int token = static_cast<int>(unit % p.tokens);
        const long long row = rowOf(unit, p.tokens, p.heads);
        const long long base = unit - token;  // of the sequence in lse and delta
        const float* k = p.k + row * p.dim;
        const float* v = p.v + row * p.dim;
        float toK[PER_LANE] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
        float toV[PER_LANE] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
        for (int t = token; t < p.tokens; t += 32) {
            int count = min(32, p.tokens - t);
            long long at = (row + static_cast<long long>(t - token) * p.heads) * p.dim;
            float probability = 0.f;
            float slope = 0.f;
            if (lane() < count) {
                float score = p.scale * dot(k, p.q + at + lane() * pitch, p.dim);
                probability = expf(score - p.lse[base + t + lane()]);
                slope = probability * (dot(v, p.dy + at + lane() * pitch, p.dim) - p.delta[base + t + lane()]) *
                        p.scale;
            }
            for (int j = 0; j < count; j++) {
                float w = __shfl_sync(0xffffffffu, probability, j);
                float d = __shfl_sync(0xffffffffu, slope, j);
                const float* q = p.q + at + j * pitch;
                const float* dy = p.dy + at + j * pitch;
#pragma unroll
                for (int c = 0; c < PER_LANE; c++) {
                    int column = 32 * c + lane();
                    if (column < p.dim) {
                        toK[c] = fmaf(d, q[column], toK[c]);
                        toV[c] = fmaf(w, dy[column], toV[c]);
                    }
                }
            }
        }
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            int column = 32 * c + lane();
            if (column < p.dim) {
                p.dk[row * p.dim + column] = toK[c];
                p.dv[row * p.dim + column] = toV[c];
            }
        }
    }
}

// One block a row and head; its warps share the cached keys, 32 at a time, and their results are joined. Token after
// token, as a full cache overwrites its oldest.
LRAM_KERNEL(cached_step, CachedStep) {
    __shared__ float tops[LRAM_WARPS];
    __shared__ float sums[LRAM_WARPS];
    __shared__ float outs[LRAM_WARPS][32 * PER_LANE];
    if (faulted(p.faults)) {
        return;
    }
    const int b = static_cast<int>(blockIdx.x) / p.heads;
    const int head = static_cast<int>(blockIdx.x) % p.heads;
    const int slot = p.slots[b];
    const int count = p.counts[b];
    const int length = p.length[slot];
    const long long pitch = static_cast<long long>(p.heads) * p.dim;
    const long long cache = static_cast<long long>(slot) * p.capacity * pitch + static_cast<long long>(head) * p.dim;
    for (int t = p.tokens - count; t < p.tokens; t++) {
        const long long row = ((static_cast<long long>(b) * p.tokens + t) * p.heads + head) * p.dim;
        const long long seen = static_cast<long long>(length) + (t - (p.tokens - count)) + 1;
        const long long to = cache + (seen - 1) % p.capacity * pitch;
        __syncthreads();
        for (int j = static_cast<int>(threadIdx.x); j < p.dim; j += LRAM_THREADS) {
            p.keys[to + j] = p.k[row + j];
            p.values[to + j] = p.v[row + j];
        }
        __syncthreads();
        const int cached = static_cast<int>(seen < p.capacity ? seen : p.capacity);
        const float* q = p.q + row;
        Running r;
        r.clear();
        for (int s = 32 * warp(); s < cached; s += 32 * LRAM_WARPS) {
            int more = min(32, cached - s);
            long long at = cache + s * pitch;
            float score = lane() < more ? p.scale * dot(q, p.keys + at + lane() * pitch, p.dim) : 0.f;
            r.add(score, more, p.values + at, pitch, p.dim);
        }
        if (lane() == 0) {
            tops[warp()] = r.top;
            sums[warp()] = r.sum;
        }
#pragma unroll
        for (int c = 0; c < PER_LANE; c++) {
            outs[warp()][32 * c + lane()] = r.out[c];
        }
        __syncthreads();
        float top = tops[0];
#pragma unroll
        for (int w = 1; w < LRAM_WARPS; w++) {
            top = fmaxf(top, tops[w]);
        }
        for (int j = static_cast<int>(threadIdx.x); j < p.dim; j += LRAM_THREADS) {
            float sum = 0.f;
            float out = 0.f;
#pragma unroll
            for (int w = 0; w < LRAM_WARPS; w++) {
                if (32 * w < cached) {
                    float decay = tops[w] == top ? 1.f : expf(tops[w] - top);
                    sum = fmaf(sums[w], decay, sum);
                    out = fmaf(outs[w][j], decay, out);
                }
            }
            p.y[row + j] = out / sum;
        }
    }
}

// After a cached step, all of whose blocks read the lengths.
LRAM_KERNEL(cached_advance, CachedAdvance) {
    if (faulted(p.faults)) {
        return;
    }
    for (long long b = gridStart(); b < p.rows; b += gridStride()) {
        int slot = p.slots[b];
        p.length[slot] = advanced(p.length[slot], p.counts[b], p.capacity);
    }
}

// Phases of an mLSTM block of the control step, as parts of any grid of blocks.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmBlock for blocks of four in q, k and v, up to 3 tokens a session. Three
// phases, each of which reads what the whole grid wrote in the one before:
//   up    norm of x; a block's channels of u and z; their convolution, q, k, v and shares of the gates
//   cell  a session's head and a run of its value columns: gates, weights of ring and state, answers, folds
//   down  head norm, skip and gate of all channels; a block's rows of the down-projection, added to x; what heads keep
// A block owns its channels, columns and rows, so nothing is added up by atomics: sums depend on sizes and the grid alone.
//
// Bytes: the weights and the matrix state once; x and the heads' answers, queries and ring keys once a block of the grid,
// from the second-level cache.
#pragma once
#include "lram_common.cuh"

namespace lram {

constexpr int STEP_TOKENS = 3;
constexpr int STEP_TAPS = 4;  // of the convolution

// The weights and the kept state of one block, as SessionOps names them.
struct StepLayer {
    const float* normWeight;
    const void* upU;
    const float* upUScale;  // int8 alone, as the others
    const void* upZ;
    const float* upZScale;
    const float* conv;
    const float* convBias;
    const float* wq;
    const float* wk;
    const float* wv;
    const float* wi;
    const float* bi;
    const float* wf;
    const float* bf;
    const float* headNorm;
    const float* skip;
    const void* down;
    const float* downScale;
    float* matC;
    float* vecN;
    float* scaM;
    float* ringK;
    float* ringV;
    float* ringI;
    float* ringF;
    int* ringLength;
    int* folded;
    float* history;
    long long layer;  // for staggering
};

struct StepShape {
    const int* slots;
    const int* counts;
    float* x;
    float* z;
    float* c;
    float* q;
    float* k;
    float* v;
    float* gateI;
    float* gateF;
    float* h;
    float* shares;  // of the gates: (T, NH, 2, blocks)
    int rows;
    int tokens;
    int pool;
    int width;
    int inner;
    int heads;
    int ring;
    int first;
    int period;
    int stagger;
    int columns;  // value columns of a unit of the cell, a multiple of 4
    int type;     // of the large weights: 0 fp32, 1 bf16, 2 int8
    float scale;
    float cellEps;
    float normEps;
    float headEps;
    int centred;
    int residual;
    int headCentred;
    int headResidual;
    int sigmoid;
    int normalize;
    Faults faults;
};

// Where a phase stands in its grid.
struct Place {
    int block;
    int blocks;
};

// Fp32 words of shared memory that each phase needs; as BlockSteps.java reckons. `all` tokens, rounded up to STEP_TOKENS.
__host__ __device__ constexpr long long upFloats(int all, int width, int channels) {
    return static_cast<long long>(all) * width + 5LL * channels * all;
}

__host__ __device__ constexpr long long cellFloats(int ring, int dimHead) {
    return 5LL * (ring + STEP_TOKENS) + 2LL * STEP_TOKENS * (ring + STEP_TOKENS + 1) + 20 +
           static_cast<long long>(STEP_TOKENS) * dimHead + LRAM_THREADS * 4LL * STEP_TOKENS;
}

__host__ __device__ constexpr long long downFloats(int all, int inner, int rows) {
    return static_cast<long long>(all) * inner + 8LL * rows * STEP_TOKENS;
}

__device__ __forceinline__ float4 load4(const float* w) { return *reinterpret_cast<const float4*>(w); }

__device__ __forceinline__ float4 load4(const Bf16* w) {
    const uint2 bits = *reinterpret_cast<const uint2*>(w);
    float4 x;
    x.x = __uint_as_float(bits.x << 16);
    x.y = __uint_as_float(bits.x & 0xffff0000u);
    x.z = __uint_as_float(bits.y << 16);
    x.w = __uint_as_float(bits.y & 0xffff0000u);
    return x;
}

__device__ __forceinline__ float4 load4(const signed char* w) {
    const unsigned bits = *reinterpret_cast<const unsigned*>(w);
    float4 x;
    x.x = static_cast<signed char>(bits & 0xffu);
    x.y = static_cast<signed char>(bits >> 8 & 0xffu);
    x.z = static_cast<signed char>(bits >> 16 & 0xffu);
    x.w = static_cast<signed char>(bits >> 24);
    return x;
}

__device__ __forceinline__ float dot4(const float4& a, const float4& b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// sum[t] of w[from..to) and three rows of x in shared memory, over the lanes; all bounds multiples of 4.
template <typename W>
__device__ __forceinline__ void dotRow(const W* w, const float* x, int pitch, int from, int to, float* sum) {
    float s0 = 0.f;
    float s1 = 0.f;
    float s2 = 0.f;
#pragma unroll 4
    for (int k = from + 4 * lane(); k < to; k += 128) {
        const float4 a = load4(w + k);
        s0 = dot4(a, load4(x + k), s0);
        s1 = dot4(a, load4(x + pitch + k), s1);
        s2 = dot4(a, load4(x + 2 * pitch + k), s2);
    }
    sum[0] = warpSum(s0);
    sum[1] = warpSum(s1);
    sum[2] = warpSum(s2);
}

__device__ __forceinline__ void dotAny(const void* w, int type, long long row, const float* x, int pitch, int from,
                                       int to, float* sum) {
    if (type == 1) {
        dotRow(static_cast<const Bf16*>(w) + row * pitch, x, pitch, from, to, sum);
    } else if (type == 0) {
        dotRow(static_cast<const float*>(w) + row * pitch, x, pitch, from, to, sum);
    } else {
        dotRow(static_cast<const signed char*>(w) + row * pitch, x, pitch, from, to, sum);
    }
}

// Every block finds the same faults, so all leave a faulty step alone.
__device__ __forceinline__ bool refused(const StepShape& p) {
    if (faulted(p.faults)) {
        return true;
    }
    int wrong = 0;
    for (int b = static_cast<int>(threadIdx.x); b < p.rows; b += LRAM_THREADS) {
        const int slot = p.slots[b];
        const int count = p.counts[b];
        if (slot < 0 || slot >= p.pool) {
            reportFault(p.faults, FAULT_SLOT, b, slot, p.pool - 1);
            wrong = 1;
        }
        if (count < 0 || count > p.tokens) {
            reportFault(p.faults, FAULT_COUNT, b, count, p.tokens);
            wrong = 1;
        }
        for (int other = 0; other < b; other++) {
            if (p.slots[other] == slot) {
                reportFault(p.faults, FAULT_DUPLICATE, b, slot, p.rows);
                wrong = 1;
            }
        }
    }
    return blockSum(wrong) != 0;
}

__device__ __forceinline__ void upPhase(const StepShape& p, const StepLayer& w, const Place& at, float* memory) {
    const int all = p.rows * p.tokens;
    const int padded = (all + STEP_TOKENS - 1) / STEP_TOKENS * STEP_TOKENS;
    const int groups = p.inner / 4;
    const int g0 = static_cast<int>(static_cast<long long>(at.block) * groups / at.blocks);
    const int g1 = static_cast<int>(static_cast<long long>(at.block + 1) * groups / at.blocks);
    const int channels = 4 * (g1 - g0);
    const int c0 = 4 * g0;
    if (channels == 0) {
        for (int i = static_cast<int>(threadIdx.x); i < all * p.heads * 2; i += LRAM_THREADS) {
            p.shares[static_cast<long long>(i) * at.blocks + at.block] = 0.f;
        }
        return;
    }
    float* normed = memory;
    float* u = normed + padded * p.width;  // channel after channel, (channels, all), as the rest
    float* c = u + channels * padded;
    float* q = c + channels * padded;
    float* k = q + channels * padded;
    float* v = k + channels * padded;
    for (int t = warp(); t < padded; t += LRAM_WARPS) {
        float* to = normed + t * p.width;
        if (t >= all) {
            for (int j = lane(); j < p.width; j += 32) {
                to[j] = 0.f;
            }
            continue;
        }
        const float* x = p.x + static_cast<long long>(t) * p.width;
        float sum = 0.f;
        for (int j = lane(); j < p.width; j += 32) {
            to[j] = x[j];
            sum += to[j];
        }
        const float mean = p.centred ? warpSum(sum) / p.width : 0.f;
        float squares = 0.f;
        for (int j = lane(); j < p.width; j += 32) {
            const float d = to[j] - mean;
            squares = fmaf(d, d, squares);
        }
        const float rstd = 1.f / sqrtf(warpSum(squares) / p.width + p.normEps);
        for (int j = lane(); j < p.width; j += 32) {
            const float scale = p.residual ? 1.f + w.normWeight[j] : w.normWeight[j];
            to[j] = (to[j] - mean) * rstd * scale;
        }
    }
    __syncthreads();
    for (int r = warp(); r < 2 * channels; r += LRAM_WARPS) {
        const bool isU = r < channels;
        const int row = c0 + (isU ? r : r - channels);
        const float* scales = isU ? w.upUScale : w.upZScale;
        const float scale = scales == nullptr ? 1.f : scales[row];
        for (int t = 0; t < all; t += STEP_TOKENS) {
            float sum[STEP_TOKENS];
            dotAny(isU ? w.upU : w.upZ, p.type, row, normed + t * p.width, p.width, 0, p.width, sum);
#pragma unroll
            for (int j = 0; j < STEP_TOKENS; j++) {
                if (lane() == j && t + j < all) {
                    if (isU) {
                        u[r * padded + t + j] = sum[j] * scale;
                    } else {
                        p.z[static_cast<long long>(t + j) * p.inner + row] = sum[j] * scale;
                    }
                }
            }
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < p.rows * channels; i += LRAM_THREADS) {
        const int b = i / channels;
        const int j = i - b * channels;
        const int n = p.counts[b];
        constexpr int past = STEP_TAPS - 1;
        const int from = b * p.tokens + p.tokens - n;
        float* history = w.history + static_cast<long long>(p.slots[b]) * past * p.inner + c0 + j;
        float line[past + STEP_TOKENS];
#pragma unroll
        for (int h = 0; h < past; h++) {
            line[h] = history[static_cast<long long>(h) * p.inner];
        }
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
            line[past + t] = t < n ? u[j * padded + from + t] : 0.f;
        }
        const float4 taps = load4(w.conv + STEP_TAPS * (c0 + j));
        const float bias = w.convBias == nullptr ? 0.f : w.convBias[c0 + j];
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
            float sum = fmaf(taps.x, line[t], bias);
            sum = fmaf(taps.y, line[t + 1], sum);
            sum = fmaf(taps.z, line[t + 2], sum);
            sum = fmaf(taps.w, line[t + 3], sum);
            sum = sum * sigmoidOf(sum);
            if (t < n) {
                c[j * padded + from + t] = sum;
                p.c[static_cast<long long>(from + t) * p.inner + c0 + j] = sum;
            }
        }
#pragma unroll
        for (int h = 0; h < past; h++) {
            const float value = n == 0 ? line[h] : (n == 1 ? line[h + 1] : (n == 2 ? line[h + 2] : line[h + 3]));
            history[static_cast<long long>(h) * p.inner] = value;
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < all * channels * 3; i += LRAM_THREADS) {
        const int part = i / (all * channels);
        const int rest = i - part * all * channels;
        const int t = rest / channels;
        const int j = rest - t * channels;
        const float* weights = (part == 0 ? w.wq : (part == 1 ? w.wk : w.wv)) + 4 * (c0 + j);
        const float* x = (part == 2 ? u : c) + (j & ~3) * padded + t;
        float sum = weights[0] * x[0];
        sum = fmaf(weights[1], x[padded], sum);
        sum = fmaf(weights[2], x[2 * padded], sum);
        sum = fmaf(weights[3], x[3 * padded], sum);
        (part == 0 ? q : (part == 1 ? k : v))[j * padded + t] = sum;
        (part == 0 ? p.q : (part == 1 ? p.k : p.v))[static_cast<long long>(t) * p.inner + c0 + j] = sum;
    }
    __syncthreads();
    for (int i = warp(); i < 2 * p.heads; i += LRAM_WARPS) {
        const int head = i / 2;
        const float* gate = (i % 2 == 0 ? w.wi : w.wf) + static_cast<long long>(head) * 3 * p.inner + c0;
        for (int t = 0; t < all; t++) {
            float sum = 0.f;
            for (int part = 0; part < 3; part++) {
                const float* x = part == 0 ? q : (part == 1 ? k : v);
                for (int j = lane(); j < channels; j += 32) {
                    sum = fmaf(gate[static_cast<long long>(part) * p.inner + j], x[j * padded + t], sum);
                }
            }
            sum = warpSum(sum);
            if (lane() == 0) {
                p.shares[(static_cast<long long>(t) * 2 * p.heads + i) * at.blocks + at.block] = sum;
            }
        }
    }
}

// A session's head: what it held before this step.
struct HeadOfStep {
    int n;        // new tokens
    int cell;
    int held;
    int folding;  // ring tokens that are folded first; 0 for none
    bool hasC;
    long long token;  // row of the first new one in (B, L)

    __device__ HeadOfStep(const StepShape& p, const StepLayer& w, int row, int head) {
        n = p.counts[row];
        cell = p.slots[row] * p.heads + head;
        held = w.ringLength[cell];
        hasC = w.folded[cell] != 0;
        const int index = static_cast<int>(w.layer) * p.heads + head;
        const int limit = hasC ? p.period : max(3, p.first - 3 * (index % p.stagger));
        folding = held > 0 && held + n > limit ? held : 0;
        token = static_cast<long long>(row) * p.tokens + p.tokens - n;
    }
};

__device__ __forceinline__ double stepInput(const StepShape& p, float gate) {
    return p.sigmoid ? logSigmoidOf(gate) : static_cast<double>(gate);
}

// Running sums of log forget gates, and log input gates; by warp 0, for the block after the next barrier.
__device__ __forceinline__ void scanGates(const StepShape& p, const StepLayer& w, const HeadOfStep& u, int held,
                                          const float* newI, const float* newF, int n, double* sums, double* inputs) {
    if (warp() != 0) {
        return;
    }
    const long long ring = static_cast<long long>(u.cell) * p.ring;
    double before = 0;
    for (int s = 0; s < held + n; s += 32) {
        const int e = s + lane();
        double f = 0;
        if (e < held) {
            f = w.ringF[ring + e];
            inputs[e] = stepInput(p, w.ringI[ring + e]);
        } else if (e < held + n) {
            f = static_cast<float>(logSigmoidOf(newF[e - held]));
            inputs[e] = stepInput(p, newI[e - held]);
        }
        const double sum = before + warpScan(f);
        if (e < held + n) {
            sums[e] = sum;
        }
        before = __shfl_sync(0xffffffffu, sum, 31);
    }
}

__device__ __forceinline__ double warpTop(double x) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        x = fmax(x, __shfl_xor_sync(0xffffffffu, x, d));
    }
    return x;
}

// Stabiliser of state and ring after `held` tokens; every lane of every warp gets it.
__device__ __forceinline__ double ringTop(const StepShape& p, int held, double m0, const double* sums,
                                          const double* inputs) {
    if (p.sigmoid) {
        return 0;
    }
    const double total = held == 0 ? 0 : sums[held - 1];
    double top = total + m0;
    for (int s = lane(); s < held; s += 32) {
        top = fmax(top, total - sums[s] + inputs[s]);
    }
    return warpTop(top);
}

__device__ __forceinline__ void cellUnit(const StepShape& p, const StepLayer& w, const Place& at, int row, int head,
                                         int e0, int chunk, float* memory) {
    const HeadOfStep u(p, w, row, head);
    if (u.n == 0) {
        return;
    }
    const int dim = p.inner / p.heads;
    const int cols = min(p.columns, dim - e0);
    const int most = p.ring + STEP_TOKENS;
    const int pitch = most + 1;
    double* sums = reinterpret_cast<double*>(memory);
    double* inputs = sums + most;
    float* dots = reinterpret_cast<float*>(inputs + most);  // (tokens, pitch)
    float* weights = dots + STEP_TOKENS * pitch;
    float* writes = weights + STEP_TOKENS * pitch;
    float* gates = writes + most;      // i, then f, of the new tokens
    float* carried = gates + 8;
    float* divisors = carried + 4;
    float* queries = memory + (4 * most + 2 * STEP_TOKENS * pitch + most + 16 + 3) / 4 * 4;
    float* parts = queries + STEP_TOKENS * dim;
    const int all = u.held + u.n;
    const long long ring = static_cast<long long>(u.cell) * p.ring;
    const int offset = head * dim;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < STEP_TOKENS * dim; i += LRAM_THREADS) {
        const int t = i / dim;
        queries[i] = t < u.n ? p.q[(u.token + t) * p.inner + offset + i - t * dim] : 0.f;
    }
    for (int i = warp(); i < 2 * u.n; i += LRAM_WARPS) {
        const int t = i / 2;
        const float* share = p.shares + (((u.token + t) * p.heads + head) * 2 + i % 2) * at.blocks;
        float sum = 0.f;
        for (int b = lane(); b < at.blocks; b += 32) {
            sum += share[b];
        }
        sum = warpSum(sum) + (i % 2 == 0 ? w.bi : w.bf)[head];
        if (lane() == 0) {
            gates[i % 2 * 4 + t] = sum;
            if (chunk == 0) {
                (i % 2 == 0 ? p.gateI : p.gateF)[(u.token + t) * p.heads + head] = sum;
            }
        }
    }
    __syncthreads();
    scanGates(p, w, u, u.held, gates, gates + 4, u.n, sums, inputs);
    for (int s = LRAM_WARPS - 1 - warp(); s <= all; s += LRAM_WARPS) {  // the last is the normaliser's
        if (s == all && !u.hasC) {
            break;
        }
        const float* key = s == all ? w.vecN + static_cast<long long>(u.cell) * dim
                                    : (s < u.held ? w.ringK + (ring + s) * dim
                                                  : p.k + (u.token + s - u.held) * p.inner + offset);
        float sum[STEP_TOKENS];
        dotRow(key, queries, dim, 0, dim, sum);
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
            if (lane() == t) {
                dots[t * pitch + s] = sum[t];
            }
        }
    }
    __syncthreads();
    const double m0 = w.scaM[u.cell];
    const double total = u.held == 0 ? 0 : sums[u.held - 1];
    const double top = ringTop(p, u.held, m0, sums, inputs);
    const double m = u.folding > 0 ? static_cast<double>(static_cast<float>(top)) : top;
    const double keep = u.folding > 0 && u.hasC ? exp(total + m0 - m) : 0;
    if (u.folding > 0) {
        for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
            writes[s] = static_cast<float>(exp(total - sums[s] + inputs[s] - m));
        }
    }
    if (warp() < u.n) {
        const int t = warp();
        double next = m;
        double last = total;
        for (int j = 0; j <= t; j++) {
            const double kept = sums[u.held + j] - last + next;
            next = p.sigmoid ? 0 : fmax(kept, inputs[u.held + j]);
            last = sums[u.held + j];
        }
        double den = 0;
        double normaliser = 0;  // q.n after the fold
        const double base = last - next;
        for (int s = lane(); s < all; s += 32) {
            const double dot = dots[t * pitch + s];
            double weight = 0;
            if (s < u.held && u.folding > 0) {
                normaliser += exp(total - sums[s] + inputs[s] - m) * dot;
            } else if (s <= u.held + t) {
                weight = exp(base - sums[s] + inputs[s]);
                den += weight * dot;
            }
            weights[t * pitch + s] = static_cast<float>(weight) * p.scale * static_cast<float>(dot);
        }
        den = warpSum(den);
        double carry = 0;
        if (u.folding > 0) {
            normaliser = warpSum(normaliser) + (u.hasC ? keep * dots[t * pitch + all] : 0);
            carry = exp(last - total + m - next);
            den += carry * normaliser;
        } else if (u.hasC) {
            carry = exp(last + m0 - next);
            den += carry * dots[t * pitch + all];
        }
        if (lane() == 0) {
            const float magnitude = fabsf(static_cast<float>(p.scale * den));
            const float least = p.sigmoid ? 1.f : static_cast<float>(exp(-next));
            carried[t] = static_cast<float>(p.scale * carry);
            divisors[t] = p.normalize ? (magnitude < least ? least : magnitude) + p.cellEps : 1.f;
        }
    }
    __syncthreads();
    const int quads = cols / 4;
    const int lines = LRAM_THREADS / quads;
    const int line = static_cast<int>(threadIdx.x) / quads;
    const int quad = static_cast<int>(threadIdx.x) - line * quads;
    const bool active = line < lines;
    float sum[STEP_TOKENS][4];
#pragma unroll
    for (int t = 0; t < STEP_TOKENS; t++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum[t][j] = 0.f;
        }
    }
    float* values = w.ringV + ring * dim + e0 + 4 * quad;
    if (active && (u.hasC || u.folding > 0)) {
        float* matC = w.matC + static_cast<long long>(u.cell) * dim * dim + e0 + 4 * quad;
        if (u.folding > 0) {
            const float* keys = w.ringK + ring * dim;
            const float decay = static_cast<float>(keep);
            for (int d = line; d < dim; d += lines) {
                float4 x;
                x.x = x.y = x.z = x.w = 0.f;
                if (u.hasC) {
                    x = load4(matC + static_cast<long long>(d) * dim);
                    x.x *= decay;
                    x.y *= decay;
                    x.z *= decay;
                    x.w *= decay;
                }
#pragma unroll 4
                for (int s = 0; s < u.held; s++) {
                    const float a = writes[s] * keys[static_cast<long long>(s) * dim + d];
                    const float4 value = load4(values + static_cast<long long>(s) * dim);
                    x.x = fmaf(a, value.x, x.x);
                    x.y = fmaf(a, value.y, x.y);
                    x.z = fmaf(a, value.z, x.z);
                    x.w = fmaf(a, value.w, x.w);
                }
                *reinterpret_cast<float4*>(matC + static_cast<long long>(d) * dim) = x;
#pragma unroll
                for (int t = 0; t < STEP_TOKENS; t++) {
                    const float a = queries[t * dim + d];
                    sum[t][0] = fmaf(a, x.x, sum[t][0]);
                    sum[t][1] = fmaf(a, x.y, sum[t][1]);
                    sum[t][2] = fmaf(a, x.z, sum[t][2]);
                    sum[t][3] = fmaf(a, x.w, sum[t][3]);
                }
            }
        } else {
#pragma unroll 8
            for (int d = line; d < dim; d += lines) {
                const float4 x = load4(matC + static_cast<long long>(d) * dim);
#pragma unroll
                for (int t = 0; t < STEP_TOKENS; t++) {
                    const float a = queries[t * dim + d];
                    sum[t][0] = fmaf(a, x.x, sum[t][0]);
                    sum[t][1] = fmaf(a, x.y, sum[t][1]);
                    sum[t][2] = fmaf(a, x.z, sum[t][2]);
                    sum[t][3] = fmaf(a, x.w, sum[t][3]);
                }
            }
        }
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
            const float a = t < u.n ? carried[t] : 0.f;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                sum[t][j] *= a;
            }
        }
    }
    if (active) {
        for (int s = (u.folding > 0 ? u.held : 0) + line; s < all; s += lines) {
            const bool isNew = s >= u.held;
            const float4 value = load4(isNew ? p.v + (u.token + s - u.held) * p.inner + offset + e0 + 4 * quad
                                             : values + static_cast<long long>(s) * dim);
#pragma unroll
            for (int t = 0; t < STEP_TOKENS; t++) {
                if (t < u.n && s <= u.held + t) {  // a later token's NaN stays out
                    const float a = weights[t * pitch + s];
                    sum[t][0] = fmaf(a, value.x, sum[t][0]);
                    sum[t][1] = fmaf(a, value.y, sum[t][1]);
                    sum[t][2] = fmaf(a, value.z, sum[t][2]);
                    sum[t][3] = fmaf(a, value.w, sum[t][3]);
                }
            }
        }
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                parts[line * cols * STEP_TOKENS + t * cols + 4 * quad + j] = sum[t][j];
            }
        }
    }
    __syncthreads();
    const int outputs = STEP_TOKENS * cols;
    int helpers = 1;  // threads that add up one output
    while (2 * helpers * outputs <= LRAM_THREADS && helpers < 32) {
        helpers *= 2;
    }
    for (int i0 = 0; i0 < outputs; i0 += LRAM_THREADS / helpers) {
        const int i = i0 + static_cast<int>(threadIdx.x) / helpers;
        const int helper = static_cast<int>(threadIdx.x) % helpers;
        float answer = 0.f;
        for (int l = helper; l < lines && i < outputs; l += helpers) {
            answer += parts[l * outputs + i];
        }
        for (int d = helpers / 2; d > 0; d /= 2) {
            answer += __shfl_xor_sync(0xffffffffu, answer, d);
        }
        const int t = i / cols;
        if (helper == 0 && i < outputs && t < u.n) {
            p.h[(u.token + t) * p.inner + offset + e0 + i - t * cols] = answer / divisors[t];
        }
    }
    const int kept = u.folding > 0 ? 0 : u.held;
    for (int i = static_cast<int>(threadIdx.x); i < u.n * cols; i += LRAM_THREADS) {
        const int t = i / cols;
        w.ringV[(ring + kept + t) * dim + e0 + i - t * cols] = p.v[(u.token + t) * p.inner + offset + e0 + i - t * cols];
    }
}

__device__ __forceinline__ void cellPhase(const StepShape& p, const StepLayer& w, const Place& at, float* memory) {
    const int dim = p.inner / p.heads;
    const int chunks = (dim + p.columns - 1) / p.columns;
    for (int unit = at.block; unit < p.rows * p.heads * chunks; unit += at.blocks) {
        const int pair = unit / chunks;
        const int chunk = unit - pair * chunks;
        const int row = pair / p.heads;
        cellUnit(p, w, at, row, pair - row * p.heads, chunk * p.columns, chunk, memory);
    }
}

// Normaliser, stabiliser, keys, gates and lengths, which the blocks of a head read in the cell's phase.
__device__ __forceinline__ void keepHead(const StepShape& p, const StepLayer& w, int row, int head, float* memory) {
    const HeadOfStep u(p, w, row, head);
    if (u.n == 0) {
        return;
    }
    const int dim = p.inner / p.heads;
    const int most = p.ring + STEP_TOKENS;
    const long long ring = static_cast<long long>(u.cell) * p.ring;
    int held = u.held;
    __syncthreads();
    if (u.folding > 0) {
        double* sums = reinterpret_cast<double*>(memory);
        double* inputs = sums + most;
        scanGates(p, w, u, u.held, nullptr, nullptr, 0, sums, inputs);
        __syncthreads();
        const double m0 = w.scaM[u.cell];
        const double total = sums[u.held - 1];
        const float m = static_cast<float>(ringTop(p, u.held, m0, sums, inputs));
        const double keep = u.hasC ? exp(total + m0 - m) : 0;
        __syncthreads();
        for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
            inputs[s] = exp(total - sums[s] + inputs[s] - m);
        }
        __syncthreads();
        for (int d = static_cast<int>(threadIdx.x); d < dim; d += LRAM_THREADS) {
            float* n = w.vecN + static_cast<long long>(u.cell) * dim + d;
            double sum = u.hasC ? keep * *n : 0;
            for (int s = 0; s < u.held; s++) {
                sum += inputs[s] * w.ringK[(ring + s) * dim + d];
            }
            *n = static_cast<float>(sum);
        }
        held = 0;
        __syncthreads();
        if (threadIdx.x == 0) {
            w.scaM[u.cell] = m;
            w.folded[u.cell] = 1;
        }
    }
    for (int i = static_cast<int>(threadIdx.x); i < u.n * dim; i += LRAM_THREADS) {
        const int t = i / dim;
        w.ringK[(ring + held + t) * dim + i - t * dim] = p.k[(u.token + t) * p.inner + head * dim + i - t * dim];
    }
    const int t = static_cast<int>(threadIdx.x);
    if (t < u.n) {
        w.ringI[ring + held + t] = p.gateI[(u.token + t) * p.heads + head];
        w.ringF[ring + held + t] = static_cast<float>(logSigmoidOf(p.gateF[(u.token + t) * p.heads + head]));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        w.ringLength[u.cell] = held + u.n;
    }
}

__device__ __forceinline__ void downPhase(const StepShape& p, const StepLayer& w, const Place& at, float* memory) {
    const int all = p.rows * p.tokens;
    const int padded = (all + STEP_TOKENS - 1) / STEP_TOKENS * STEP_TOKENS;
    const int dim = p.inner / p.heads;
    float* mixed = memory;
    float* parts = mixed + padded * p.inner;
    const int r0 = static_cast<int>(static_cast<long long>(at.block) * p.width / at.blocks);
    const int r1 = static_cast<int>(static_cast<long long>(at.block + 1) * p.width / at.blocks);
    if (r1 > r0) {
        for (int i = warp(); i < padded * p.heads; i += LRAM_WARPS) {
            const int t = i / p.heads;
            const int from = (i - t * p.heads) * dim;
            float* to = mixed + t * p.inner + from;
            const int b = t / p.tokens;
            if (t >= all || t - b * p.tokens < p.tokens - p.counts[b]) {
                for (int j = lane(); j < dim; j += 32) {
                    to[j] = 0.f;
                }
                continue;
            }
            const float* h = p.h + static_cast<long long>(t) * p.inner + from;
            float sum = 0.f;
            for (int j = lane(); j < dim; j += 32) {
                to[j] = h[j];
                sum += to[j];
            }
            const float mean = p.headCentred ? warpSum(sum) / dim : 0.f;
            float squares = 0.f;
            for (int j = lane(); j < dim; j += 32) {
                const float d = to[j] - mean;
                squares = fmaf(d, d, squares);
            }
            const float rstd = 1.f / sqrtf(warpSum(squares) / dim + p.headEps);
            const long long at0 = static_cast<long long>(t) * p.inner + from;
            for (int j = lane(); j < dim; j += 32) {
                const float scale = p.headResidual ? 1.f + w.headNorm[from + j] : w.headNorm[from + j];
                const float z = p.z[at0 + j];
                const float normed = (to[j] - mean) * rstd * scale;
                to[j] = fmaf(w.skip[from + j], p.c[at0 + j], normed) * (z * sigmoidOf(z));
            }
        }
        __syncthreads();
        const int rows = r1 - r0;
        int splits = 1;
        int best = LRAM_WARPS * 8;
        for (int s = 1; s <= 8; s *= 2) {
            const int cost = (rows * s + LRAM_WARPS - 1) / LRAM_WARPS * (8 / s);
            if (cost < best && p.inner % (4 * s) == 0) {
                best = cost;
                splits = s;
            }
        }
        const int share = p.inner / splits;
        for (int t = 0; t < all; t += STEP_TOKENS) {
            for (int i = warp(); i < rows * splits; i += LRAM_WARPS) {
                const int r = i / splits;
                const int part = i - r * splits;
                float sum[STEP_TOKENS];
                dotAny(w.down, p.type, r0 + r, mixed + t * p.inner, p.inner, part * share, (part + 1) * share, sum);
#pragma unroll
                for (int j = 0; j < STEP_TOKENS; j++) {
                    if (lane() == j) {
                        parts[i * STEP_TOKENS + j] = sum[j];
                    }
                }
            }
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < rows * STEP_TOKENS; i += LRAM_THREADS) {
                const int r = i / STEP_TOKENS;
                const int j = i - r * STEP_TOKENS;
                float sum = 0.f;
                for (int part = 0; part < splits; part++) {
                    sum += parts[(r * splits + part) * STEP_TOKENS + j];
                }
                if (t + j < all) {
                    const float scale = w.downScale == nullptr ? 1.f : w.downScale[r0 + r];
                    float* x = p.x + static_cast<long long>(t + j) * p.width + r0 + r;
                    *x = fmaf(sum, scale, *x);
                }
            }
            __syncthreads();
        }
    }
    for (int pair = at.blocks - 1 - at.block; pair < p.rows * p.heads; pair += at.blocks) {
        keepHead(p, w, pair / p.heads, pair % p.heads, memory);
    }
}

}  // namespace lram

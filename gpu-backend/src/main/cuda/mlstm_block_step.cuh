// Phases of an mLSTM block of the control step, as parts of any grid of blocks.
//
// Contract: ai.lram.backend.ops.SessionOps.mlstmBlock for blocks of four in q, k and v, up to 3 tokens a session. Three
// phases, each of which reads what the whole grid wrote in the one before:
//   up    norm of x; a block's channels of u and z; their convolution, q, k, v and shares of the gates
//   cell  a session's head and a run of its value columns: gates, weights of ring and state, answers, folds
//   down  head norm, skip and gate of all channels; a block's rows of the down-projection, added to x; what heads keep
// A block owns its channels, columns and rows, so nothing is added up by atomics: sums depend on sizes and the grid alone.
// Each phase has a beginning, which needs nothing of the phase before and runs while the grid still works on that.
//
// Bytes: the weights and the matrix state once; x and the heads' answers, queries and ring keys once a block of the grid,
// from the second-level cache. Time is not bytes but what follows one after the other: so sizes are constants of the
// compilation (BlockSteps.java gives them), and a warp has little to do in each phase.
#pragma once
#include "lram_common.cuh"

namespace lram {

constexpr int TOKENS = 3;          // of a session, at most, and rows of a dot product
constexpr int TAPS = 4;
constexpr int D = STEP_WIDTH;
constexpr int I = STEP_INNER;
constexpr int NH = STEP_HEADS;
constexpr int DH = I / NH;
constexpr int B = STEP_ROWS;
constexpr int L = STEP_TOKENS;
constexpr int BLOCKS = STEP_BLOCKS;  // of the grid
constexpr int RING = STEP_RING;
constexpr int COLUMNS = STEP_COLUMNS;  // value columns of a unit of the cell, a multiple of 4
constexpr bool SIGMOID = STEP_SIGMOID;

#if STEP_TYPE == 0
using Weight = float;
#elif STEP_TYPE == 1
using Weight = Bf16;
#else
using Weight = signed char;
#endif

constexpr int ALL = B * L;
constexpr int PADDED = (ALL + TOKENS - 1) / TOKENS * TOKENS;
constexpr int CHANNELS = 4 * ((I / 4 + BLOCKS - 1) / BLOCKS);  // most of a block
constexpr int ROWS = (D + BLOCKS - 1) / BLOCKS;
constexpr int CHUNKS = (DH + COLUMNS - 1) / COLUMNS;
constexpr int UNITS = B * NH * CHUNKS;
constexpr int MOST = RING + TOKENS;  // tokens that weigh in one step
constexpr int QUADS = COLUMNS / 4;
constexpr int LINES = LRAM_THREADS / QUADS;
constexpr int STATE_QUADS = (DH + LINES - 1) / LINES;  // of the matrix state, a thread's
constexpr int PIECE = STATE_QUADS < 8 ? STATE_QUADS : 8;  // of these in registers at once

// The weights and the kept state of one block, as SessionOps names them.
struct StepLayer {
    const float* normWeight;
    const Weight* upU;
    const float* upUScale;  // int8 alone, as the others
    const Weight* upZ;
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
    const Weight* down;
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
    float* shares;  // of the gates: (T, NH, 2, BLOCKS)
    int pool;
    int first;
    int period;
    int stagger;
    float scale;
    float cellEps;
    float normEps;
    float headEps;
    Faults faults;
};

// Where a block stands in its grid: channels [c0, c0 + channels) of the inner width and rows [r0, r0 + rows) of x are its own.
struct Place {
    int block;
    int c0;
    int channels;
    int r0;
    int rows;

    __device__ Place(int at) : block(at) {
        c0 = 4 * (at * (I / 4) / BLOCKS);
        channels = 4 * ((at + 1) * (I / 4) / BLOCKS) - c0;
        r0 = at * D / BLOCKS;
        rows = (at + 1) * D / BLOCKS - r0;
    }
};

__host__ __device__ constexpr int most(int a, int b) { return a > b ? a : b; }

// Shared memory in fp32 words, as BlockSteps.java reckons: what a block copies of the weights before it needs them, then the
// most that a phase works with.
constexpr int SMALL_FLOATS = D + CHANNELS * (17 + 6 * NH) + 2 * I;
constexpr int LARGE_FLOATS =
        STEP_KEPT ? (int) ((sizeof(Weight) * (2LL * CHANNELS * D + static_cast<long long>(ROWS) * I) + 15) / 16 * 4) : 0;
constexpr int UP_FLOATS = PADDED * D + 5 * CHANNELS * PADDED;
constexpr int CELL_FLOATS = 20 + most(5 * MOST + 2 * TOKENS * (MOST + 1) + 4 + TOKENS * DH, LRAM_THREADS * 4 * TOKENS);
constexpr int DOWN_FLOATS = PADDED * I + 8 * ROWS * TOKENS;
constexpr int STEP_FLOATS = SMALL_FLOATS + LARGE_FLOATS + most(UP_FLOATS, most(CELL_FLOATS, DOWN_FLOATS));

// A block's weights of one layer in shared memory. The large ones stay in device memory where there is no room.
struct StepWeights {
    float* norm;      // (D)
    float* conv;      // (channels, 4)
    float* convBias;  // (channels)
    float* maps;      // q, k, v: (3, channels, 4)
    float* gates;     // (NH, i and f, 3, channels)
    float* headNorm;  // (I)
    float* skip;      // (I)
    Weight* up;       // rows of u, then of z
    Weight* down;
    float* work;

    __device__ StepWeights(float* memory) {
        norm = memory;
        conv = norm + D;
        convBias = conv + 4 * CHANNELS;
        maps = convBias + CHANNELS;
        gates = maps + 12 * CHANNELS;
        headNorm = gates + 6 * NH * CHANNELS;
        skip = headNorm + I;
        up = reinterpret_cast<Weight*>(skip + I);
        down = up + 2 * CHANNELS * D;
        work = memory + SMALL_FLOATS + LARGE_FLOATS;
    }
};

#ifdef LRAM_EMULATED
__device__ __forceinline__ void copySixteen(void* to, const void* from) { memcpy(to, from, 16); }
__device__ __forceinline__ void endCopies() {}
__device__ __forceinline__ void awaitCopiesBeforeTheLast() {}
#else
__device__ __forceinline__ void copySixteen(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
__device__ __forceinline__ void endCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ __forceinline__ void awaitCopiesBeforeTheLast() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
#endif

// Begins to copy; bytes and both addresses are multiples of 16.
__device__ __forceinline__ void copyBegin(void* to, const void* from, int bytes) {
    for (int i = 16 * static_cast<int>(threadIdx.x); i < bytes; i += 16 * LRAM_THREADS) {
        copySixteen(static_cast<unsigned char*>(to) + i, static_cast<const unsigned char*>(from) + i);
    }
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

// Three sums over the lanes at once: lane 0 gets the first, lane 1 the second, lane 2 the third.
__device__ __forceinline__ float threeSums(float a, float b, float c) {
    const bool odd = lane() & 1;
    const bool high = lane() & 2;
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

// w[0..N) times three rows of x in shared memory; lane t gets row t's. N is a multiple of 4.
template <int N, typename W>
__device__ __forceinline__ float dotRow(const W* w, const float* x, int pitch) {
    float sum[TOKENS] = {0.f, 0.f, 0.f};
#pragma unroll
    for (int k0 = 0; k0 < N; k0 += 128) {
        const int k = k0 + 4 * lane();
        if (k0 + 128 <= N || k < N) {
            const float4 a = load4(w + k);
            sum[0] = dot4(a, load4(x + k), sum[0]);
            sum[1] = dot4(a, load4(x + pitch + k), sum[1]);
            sum[2] = dot4(a, load4(x + 2 * pitch + k), sum[2]);
        }
    }
    return threeSums(sum[0], sum[1], sum[2]);
}

// e^x to fp32 accuracy: the part of x that a float cannot hold goes in as a factor.
__device__ __forceinline__ float expOf(double x) {
    const float high = static_cast<float>(x);
    const float low = static_cast<float>(x - static_cast<double>(high));
    const float e = expf(high);
    return low == low ? fmaf(e, low, e) : e;  // of an infinity the rest is not a number
}

__device__ __forceinline__ float logSigmoidFloat(float x) { return fminf(x, 0.f) - log1pf(expf(-fabsf(x))); }

// Every block finds the same faults, so all leave a faulty step alone.
__device__ __forceinline__ bool refused(const StepShape& p) {
    // The whole block decides by what its first thread sees: others may see the fault that a block of this very launch reports.
    int wrong = threadIdx.x == 0 && faulted(p.faults);
    const int b = static_cast<int>(threadIdx.x);
    if (b < B) {
        const int slot = p.slots[b];
        const int count = p.counts[b];
        if (slot < 0 || slot >= p.pool) {
            reportFault(p.faults, FAULT_SLOT, b, slot, p.pool - 1);
            wrong = 1;
        }
        if (count < 0 || count > L) {
            reportFault(p.faults, FAULT_COUNT, b, count, L);
            wrong = 1;
        }
        for (int other = 0; other < b; other++) {
            if (p.slots[other] == slot) {
                reportFault(p.faults, FAULT_DUPLICATE, b, slot, B);
                wrong = 1;
            }
        }
    }
    return blockSum(wrong) != 0;
}

// ---- up

// Begins to copy what the next upPhase needs.
__device__ __forceinline__ void upBegin(const StepLayer& w, const Place& at, const StepWeights& to) {
#if STEP_KEPT
    const long long from = static_cast<long long>(at.c0) * D;
    const int bytes = at.channels * D * static_cast<int>(sizeof(Weight));
    copyBegin(to.up, w.upU + from, bytes);
    copyBegin(to.up + CHANNELS * D, w.upZ + from, bytes);
#endif
    copyBegin(to.norm, w.normWeight, 4 * D);
    copyBegin(to.conv, w.conv + TAPS * at.c0, 16 * at.channels);
    if (w.convBias != nullptr) {
        copyBegin(to.convBias, w.convBias + at.c0, 4 * at.channels);
    }
    copyBegin(to.maps, w.wq + 4 * at.c0, 16 * at.channels);
    copyBegin(to.maps + 4 * CHANNELS, w.wk + 4 * at.c0, 16 * at.channels);
    copyBegin(to.maps + 8 * CHANNELS, w.wv + 4 * at.c0, 16 * at.channels);
    for (int i = static_cast<int>(threadIdx.x); i < 6 * NH * CHANNELS / 4; i += LRAM_THREADS) {
        const int line = i / (CHANNELS / 4);
        const int j = 4 * (i % (CHANNELS / 4));
        const int gate = line / 3;  // head and which
        if (j < at.channels) {
            copySixteen(to.gates + line * CHANNELS + j,
                        (gate % 2 == 0 ? w.wi : w.wf) + (gate / 2 * 3 + line % 3) * I + at.c0 + j);
        }
    }
    endCopies();
}

// One warp's row of N elements, a lane's quads of it: read from x, without its mean if CENTRED.
// Returns 1 / its deviation.
template <int N, bool CENTRED>
__device__ __forceinline__ float normaliseRow(const float* x, float eps, float4* v) {
    constexpr int QUADS_OF_LANE = (N + 127) / 128;
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < QUADS_OF_LANE; i++) {
        const int j = 128 * i + 4 * lane();
        v[i] = j < N ? load4(x + j) : none();
    }
#pragma unroll
    for (int i = 0; i < QUADS_OF_LANE; i++) {
        sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
    }
    const float mean = CENTRED ? groupSum<32>(sum) / N : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < QUADS_OF_LANE; i++) {
        if (128 * i + 4 * lane() < N) {
            v[i].x -= mean;
            v[i].y -= mean;
            v[i].z -= mean;
            v[i].w -= mean;
            squares = dot4(v[i], v[i], squares);
        }
    }
    return 1.f / sqrtf(groupSum<32>(squares) / N + eps);
}

// One warp, one row of x.
__device__ __forceinline__ void normRow(const float* x, const float* weight, float eps, float* to) {
    constexpr int N = (D + 127) / 128;
    float4 v[N];
    const float rstd = normaliseRow<D, STEP_CENTRED>(x, eps, v);
    constexpr float one = STEP_RESIDUAL ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int j = 128 * i + 4 * lane();
        if (j < D) {
            const float4 scale = load4(weight + j);
            v[i].x *= rstd * (one + scale.x);
            v[i].y *= rstd * (one + scale.y);
            v[i].z *= rstd * (one + scale.z);
            v[i].w *= rstd * (one + scale.w);
            *reinterpret_cast<float4*>(to + j) = v[i];
        }
    }
}

__device__ __forceinline__ void upPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept) {
    const int c0 = at.c0;
    float* normed = kept.work;
    float* u = normed + PADDED * D;  // channel after channel, (CHANNELS, PADDED), as the rest
    float* c = u + CHANNELS * PADDED;
    float* maps = c + CHANNELS * PADDED;  // q, k and v
    constexpr int past = TAPS - 1;
    static_assert(B * CHANNELS <= LRAM_THREADS, "a thread for each channel of each session");
    static_assert(ROWS * TOKENS <= LRAM_THREADS, "a thread for each row of x and token");
    const int b = static_cast<int>(threadIdx.x) / CHANNELS;
    const int channel = static_cast<int>(threadIdx.x) % CHANNELS;
    const bool convolves = b < B && channel < at.channels;
    int n = 0;
    float* history = nullptr;
    float line[past + TOKENS];
    if (convolves) {
        n = p.counts[b];
        history = w.history + static_cast<long long>(p.slots[b]) * past * I + c0 + channel;
#pragma unroll
        for (int h = 0; h < past; h++) {
            line[h] = history[h * I];
        }
    }
    awaitCopiesBeforeTheLast();
    __syncthreads();
    for (int t = warp(); t < PADDED; t += LRAM_WARPS) {
        float* to = normed + t * D;
        if (t < ALL) {
            normRow(p.x + t * D, kept.norm, p.normEps, to);
        } else {
            for (int j = lane(); j < D; j += 32) {
                to[j] = 0.f;
            }
        }
    }
    __syncthreads();
    for (int i = warp(); i < 2 * CHANNELS; i += LRAM_WARPS) {
        const bool isU = i < CHANNELS;
        const int r = isU ? i : i - CHANNELS;
        if (r >= at.channels) {
            continue;
        }
        const int row = c0 + r;
#if STEP_KEPT
        const Weight* from = kept.up + i * D;
#else
        const Weight* from = (isU ? w.upU : w.upZ) + static_cast<long long>(row) * D;
#endif
        float scale = 1.f;
        if (STEP_TYPE == 2) {
            scale = (isU ? w.upUScale : w.upZScale)[row];
        }
#pragma unroll 1
        for (int t = 0; t < ALL; t += TOKENS) {
            const float sum = dotRow<D>(from, normed + t * D, D) * scale;
            if (lane() < TOKENS && t + lane() < ALL) {
                if (isU) {
                    u[r * PADDED + t + lane()] = sum;
                } else {
                    p.z[(t + lane()) * I + row] = sum;
                }
            }
        }
    }
    __syncthreads();
    if (convolves) {
        const int from = b * L + L - n;
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            line[past + t] = t < n ? u[channel * PADDED + from + t] : 0.f;
        }
        const float4 taps = load4(kept.conv + TAPS * channel);
        const float bias = w.convBias == nullptr ? 0.f : kept.convBias[channel];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            float sum = fmaf(taps.x, line[t], bias);
            sum = fmaf(taps.y, line[t + 1], sum);
            sum = fmaf(taps.z, line[t + 2], sum);
            sum = fmaf(taps.w, line[t + 3], sum);
            sum = sum * sigmoidOf(sum);
            if (t < n) {
                c[channel * PADDED + from + t] = sum;
                p.c[(from + t) * I + c0 + channel] = sum;
            }
        }
#pragma unroll
        for (int h = 0; h < past; h++) {
            history[h * I] = n == 0 ? line[h] : (n == 1 ? line[h + 1] : (n == 2 ? line[h + 2] : line[h + 3]));
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < 3 * CHANNELS * ALL; i += LRAM_THREADS) {
        const int e = i % (3 * CHANNELS);
        const int t = i / (3 * CHANNELS);
        const int part = e / CHANNELS;
        const int j = e % CHANNELS;
        if (j < at.channels) {
            const float4 weights = load4(kept.maps + 4 * e);
            const float* x = (part == 2 ? u : c) + (j & ~3) * PADDED + t;
            float sum = weights.x * x[0];
            sum = fmaf(weights.y, x[PADDED], sum);
            sum = fmaf(weights.z, x[2 * PADDED], sum);
            sum = fmaf(weights.w, x[3 * PADDED], sum);
            maps[e * PADDED + t] = sum;
            (part == 0 ? p.q : (part == 1 ? p.k : p.v))[t * I + c0 + j] = sum;
        }
    }
    __syncthreads();
    for (int i = warp(); i < 2 * NH * ALL; i += LRAM_WARPS) {
        const int gate = i % (2 * NH);
        const int t = i / (2 * NH);
        float sum = 0.f;
#pragma unroll
        for (int e0 = 0; e0 < 3 * CHANNELS; e0 += 32) {
            const int e = e0 + lane();
            if (e < 3 * CHANNELS && e % CHANNELS < at.channels) {
                sum = fmaf(kept.gates[gate * 3 * CHANNELS + e], maps[e * PADDED + t], sum);
            }
        }
        sum = groupSum<32>(sum);
        if (lane() == 0) {
            p.shares[(t * 2 * NH + gate) * BLOCKS + at.block] = sum;
        }
    }
}

// ---- cell

// A session's head: what it held before this step.
struct HeadOfStep {
    int n;        // new tokens
    int cell;
    int held;
    int folding;  // ring tokens that are folded first; 0 for none
    bool hasC;
    int token;  // row of the first new one in (B, L)

    __device__ HeadOfStep() {}

    __device__ HeadOfStep(const StepShape& p, const StepLayer& w, int row, int head) {
        n = p.counts[row];
        cell = p.slots[row] * NH + head;
        held = w.ringLength[cell];
        hasC = w.folded[cell] != 0;
        const int index = static_cast<int>(w.layer) * NH + head;
        const int limit = hasC ? p.period : max(3, p.first - 3 * (index % p.stagger));
        folding = held > 0 && held + n > limit ? held : 0;
        token = row * L + L - n;
    }
};

__device__ __forceinline__ double stepInput(float gate) { return SIGMOID ? logSigmoidFloat(gate) : gate; }

// Running sums of the ring's log forget gates, and its log input gates; by one warp, for the block after the next barrier.
__device__ __forceinline__ void scanRing(const StepLayer& w, const HeadOfStep& u, double* sums, double* inputs) {
    const long long ring = static_cast<long long>(u.cell) * RING;
    double before = 0;
    for (int s = 0; s < u.held; s += 32) {
        const int e = s + lane();
        double f = 0;
        if (e < u.held) {
            f = w.ringF[ring + e];
            inputs[e] = stepInput(w.ringI[ring + e]);
        }
        const double sum = before + warpScan(f);
        if (e < u.held) {
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
__device__ __forceinline__ double ringTop(int held, double m0, const double* sums, const double* inputs) {
    if (SIGMOID) {
        return 0;
    }
    const double total = held == 0 ? 0 : sums[held - 1];
    double top = total + m0;
    for (int s = lane(); s < held; s += 32) {
        top = fmax(top, total - sums[s] + inputs[s]);
    }
    return warpTop(top);
}

// A unit of the cell: a session's head and a chunk of its value columns.
struct CellUnit {
    HeadOfStep u;
    int head;
    int chunk;
    double m0;
    float4 state[PIECE];  // this thread's of C; the first ones are read ahead

    double* sums;
    double* inputs;

    // What does not depend on this step's tokens. `memory` must be free.
    __device__ __forceinline__ void begin(const StepShape& p, const StepLayer& w, int unit, float* memory) {
        const int pair = unit / CHUNKS;
        chunk = unit % CHUNKS;
        head = pair % NH;
        u = HeadOfStep(p, w, pair / NH, head);
        sums = reinterpret_cast<double*>(memory + 20);
        inputs = sums + MOST;
        if (u.n == 0) {
            return;
        }
        m0 = w.scaM[u.cell];
        const int line = static_cast<int>(threadIdx.x) / QUADS;
        const int quad = static_cast<int>(threadIdx.x) % QUADS;
        if (u.hasC && line < LINES && chunk * COLUMNS + 4 * quad < DH) {
            loadState(w, line, chunk * COLUMNS + 4 * quad);
        }
        if (warp() == LRAM_WARPS - 1) {
            scanRing(w, u, sums, inputs);
        }
    }

    // Rows line, line + LINES, ... of a column of quads; beyond the last one zero.
    __device__ __forceinline__ void loadState(const StepLayer& w, int line, int e) {
        const float* c = w.matC + static_cast<long long>(u.cell) * DH * DH + e;
#pragma unroll
        for (int i = 0; i < PIECE; i++) {
            const int d = line + i * LINES;
            state[i] = d < DH ? load4(c + d * DH) : none();
        }
    }

    __device__ __forceinline__ void finish(const StepShape& p, const StepLayer& w, float* memory) {
        if (u.n == 0) {
            return;
        }
        const int e0 = chunk * COLUMNS;
        constexpr int pitch = MOST + 1;
        float* gates = memory;  // i, then f, of the new tokens
        float* carried = gates + 8;
        float* divisors = carried + 4;
        float* dots = memory + 20 + 4 * MOST;  // (TOKENS, pitch), after sums and inputs
        float* weights = dots + TOKENS * pitch;
        float* writes = weights + TOKENS * pitch;
        float* queries = memory + 20 + (5 * MOST + 2 * TOKENS * pitch + 3) / 4 * 4;
        float* parts = memory + 20;  // in place of all but the first twenty
        const int all = u.held + u.n;
        const long long ring = static_cast<long long>(u.cell) * RING;
        const int offset = head * DH;
        for (int i = static_cast<int>(threadIdx.x); i < TOKENS * DH / 4; i += LRAM_THREADS) {
            const int t = i / (DH / 4);
            reinterpret_cast<float4*>(queries)[i] =
                    t < u.n ? load4(p.q + (u.token + t) * I + offset + 4 * (i % (DH / 4))) : none();
        }
        for (int i = LRAM_WARPS - 1 - warp(); i < 2 * u.n; i += LRAM_WARPS) {
            const int t = i / 2;
            const float* share = p.shares + (((u.token + t) * NH + head) * 2 + i % 2) * BLOCKS;
            const float bias = (i % 2 == 0 ? w.bi : w.bf)[head];
            float sum = 0.f;
#pragma unroll
            for (int b0 = 0; b0 < BLOCKS; b0 += 32) {
                if (b0 + lane() < BLOCKS) {
                    sum += share[b0 + lane()];
                }
            }
            sum = groupSum<32>(sum) + bias;
            if (lane() == 0) {
                gates[i % 2 * 4 + t] = sum;
                if (chunk == 0) {
                    (i % 2 == 0 ? p.gateI : p.gateF)[(u.token + t) * NH + head] = sum;
                }
            }
        }
        __syncthreads();
        // Eight lanes a key: those of the ring, the new ones, then the normaliser.
        const int part8 = lane() & 7;
        for (int s0 = 0; s0 <= all; s0 += LRAM_THREADS / 8) {
            const int s = s0 + static_cast<int>(threadIdx.x) / 8;
            float sum[TOKENS] = {0.f, 0.f, 0.f};
            if (s < all || (s == all && u.hasC)) {
                const float* key = s == all ? w.vecN + static_cast<long long>(u.cell) * DH
                                            : (s < u.held ? w.ringK + (ring + s) * DH
                                                          : p.k + (u.token + s - u.held) * I + offset);
#pragma unroll
                for (int d0 = 0; d0 < DH; d0 += 32) {
                    const int d = d0 + 4 * part8;
                    if (d0 + 32 <= DH || d < DH) {
                        const float4 a = load4(key + d);
                        sum[0] = dot4(a, load4(queries + d), sum[0]);
                        sum[1] = dot4(a, load4(queries + DH + d), sum[1]);
                        sum[2] = dot4(a, load4(queries + 2 * DH + d), sum[2]);
                    }
                }
            }
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                sum[t] = groupSum<8>(sum[t]);
                if (part8 == t && s <= all) {
                    dots[t * pitch + s] = sum[t];
                }
            }
        }
        if (warp() == LRAM_WARPS - 1) {  // the new tokens' gates follow the ring's
            double sum = u.held == 0 ? 0 : sums[u.held - 1];
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                if (t < u.n) {
                    sum += logSigmoidFloat(gates[4 + t]);
                    if (lane() == t) {
                        sums[u.held + t] = sum;
                        inputs[u.held + t] = stepInput(gates[t]);
                    }
                }
            }
        }
        __syncthreads();
        const double total = u.held == 0 ? 0 : sums[u.held - 1];
        double m = 0;
        double keep = 0;
        if (u.folding > 0 || warp() < u.n) {
            m = ringTop(u.held, m0, sums, inputs);
        }
        if (u.folding > 0) {
            m = static_cast<float>(m);
            keep = u.hasC ? expOf(total + m0 - m) : 0;
            for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
                writes[s] = expOf(total - sums[s] + inputs[s] - m);
            }
        }
        if (warp() < u.n) {
            const int t = warp();
            double next = m;
            double last = total;
            for (int j = 0; j <= t; j++) {
                const double stayed = sums[u.held + j] - last + next;
                next = SIGMOID ? 0 : fmax(stayed, inputs[u.held + j]);
                last = sums[u.held + j];
            }
            double den = 0;
            double normaliser = 0;  // q.n after the fold
            const double base = last - next;
            for (int s = lane(); s < all; s += 32) {
                const float dot = dots[t * pitch + s];
                float weight = 0.f;
                if (s < u.held && u.folding > 0) {
                    normaliser += static_cast<double>(expOf(total - sums[s] + inputs[s] - m)) * dot;
                } else if (s <= u.held + t) {
                    weight = expOf(base - sums[s] + inputs[s]);
                    den += static_cast<double>(weight) * dot;
                }
                weights[t * pitch + s] = weight * p.scale * dot;
            }
            den = warpSum(den);
            double carry = 0;
            if (u.folding > 0) {
                normaliser = warpSum(normaliser) + (u.hasC ? keep * dots[t * pitch + all] : 0);
                carry = expOf(last - total + m - next);
                den += carry * normaliser;
            } else if (u.hasC) {
                carry = expOf(last + m0 - next);
                den += carry * dots[t * pitch + all];
            }
            if (lane() == 0) {
                const float magnitude = fabsf(static_cast<float>(p.scale * den));
                const float least = SIGMOID ? 1.f : expOf(-next);
                carried[t] = static_cast<float>(p.scale * carry);
                divisors[t] = STEP_NORMALIZE ? (magnitude < least ? least : magnitude) + p.cellEps : 1.f;
            }
        }
        __syncthreads();
        const int line = static_cast<int>(threadIdx.x) / QUADS;
        const int quad = static_cast<int>(threadIdx.x) % QUADS;
        const bool active = line < LINES && e0 + 4 * quad < DH;
        float sum[TOKENS][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
        float* values = w.ringV + ring * DH + e0 + 4 * quad;
        if (u.folding > 0) {
            fold(w, ring, static_cast<float>(keep), writes);
            __syncthreads();
            if (active) {
                loadState(w, line, e0 + 4 * quad);
            }
        }
        if (active && (u.hasC || u.folding > 0)) {
#pragma unroll 1
            for (int from = line; from < DH; from += PIECE * LINES) {
                if (from != line) {
                    loadState(w, from, e0 + 4 * quad);
                }
#pragma unroll
                for (int i = 0; i < PIECE; i++) {
                    const int d = min(from + i * LINES, DH - 1);  // beyond, the state is zero
#pragma unroll
                    for (int t = 0; t < TOKENS; t++) {
                        addTimes(queries[t * DH + d], state[i], sum[t]);
                    }
                }
            }
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                const float a = t < u.n ? carried[t] : 0.f;
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    sum[t][j] *= a;
                }
            }
        }
        if (active) {
            for (int s = (u.folding > 0 ? u.held : 0) + line; s < all; s += LINES) {
                const float4 value = load4(s >= u.held ? p.v + (u.token + s - u.held) * I + offset + e0 + 4 * quad
                                                       : values + s * DH);
#pragma unroll
                for (int t = 0; t < TOKENS; t++) {
                    if (t < u.n && s <= u.held + t) {  // a later token's NaN stays out
                        addTimes(weights[t * pitch + s], value, sum[t]);
                    }
                }
            }
        }
        __syncthreads();
        if (line < LINES) {
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                float4 x;
                x.x = sum[t][0];
                x.y = sum[t][1];
                x.z = sum[t][2];
                x.w = sum[t][3];
                *reinterpret_cast<float4*>(parts + (line * TOKENS + t) * COLUMNS + 4 * quad) = x;
            }
        }
        __syncthreads();
        constexpr int outputs = TOKENS * COLUMNS;
        constexpr int wanted = LRAM_THREADS / outputs;
        constexpr int helpers = wanted >= 16 ? 16 : (wanted >= 8 ? 8 : (wanted >= 4 ? 4 : (wanted >= 2 ? 2 : 1)));
#pragma unroll
        for (int i0 = 0; i0 < outputs; i0 += LRAM_THREADS / helpers) {
            const int i = i0 + static_cast<int>(threadIdx.x) / helpers;
            const int helper = static_cast<int>(threadIdx.x) % helpers;
            float answer = 0.f;
            if (i < outputs) {
#pragma unroll 8
                for (int l = helper; l < LINES; l += helpers) {
                    answer += parts[l * outputs + i];
                }
            }
            answer = groupSum<helpers>(answer);
            const int t = i / COLUMNS;
            const int e = e0 + i % COLUMNS;
            if (helper == 0 && i < outputs && t < u.n && e < DH) {
                p.h[(u.token + t) * I + offset + e] = answer / divisors[t];
            }
        }
        const int stay = u.folding > 0 ? 0 : u.held;
        for (int i = static_cast<int>(threadIdx.x); i < TOKENS * QUADS; i += LRAM_THREADS) {
            const int t = i / QUADS;
            const int e = e0 + 4 * (i % QUADS);
            if (t < u.n && e < DH) {
                *reinterpret_cast<float4*>(w.ringV + (ring + stay + t) * DH + e) = load4(p.v + (u.token + t) * I + offset + e);
            }
        }
    }

    // The ring goes into the chunk's columns of C, four rows and four columns a thread.
    __device__ __forceinline__ void fold(const StepLayer& w, long long ring, float decay, const float* writes) {
#pragma unroll 1
        for (int tile = static_cast<int>(threadIdx.x); tile < DH / 4 * QUADS; tile += LRAM_THREADS) {
            const int d = 4 * (tile / QUADS);
            const int e = chunk * COLUMNS + 4 * (tile % QUADS);
            if (e >= DH) {
                continue;
            }
            float* c = w.matC + static_cast<long long>(u.cell) * DH * DH + d * DH + e;
            const float* keys = w.ringK + ring * DH + d;
            const float* values = w.ringV + ring * DH + e;
            float sum[4][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
            if (u.hasC) {
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    addTimes(decay, load4(c + r * DH), sum[r]);
                }
            }
#pragma unroll 8
            for (int s = 0; s < u.held; s++) {
                const float4 key = load4(keys + s * DH);
                const float4 value = load4(values + s * DH);
                const float write = writes[s];
                addTimes(write * key.x, value, sum[0]);
                addTimes(write * key.y, value, sum[1]);
                addTimes(write * key.z, value, sum[2]);
                addTimes(write * key.w, value, sum[3]);
            }
#pragma unroll
            for (int r = 0; r < 4; r++) {
                float4 x;
                x.x = sum[r][0];
                x.y = sum[r][1];
                x.z = sum[r][2];
                x.w = sum[r][3];
                *reinterpret_cast<float4*>(c + r * DH) = x;
            }
        }
    }
};

// ---- down

// Normaliser, stabiliser, keys, gates and lengths, which the blocks of a head read in the cell's phase.
__device__ __forceinline__ void keepHead(const StepShape& p, const StepLayer& w, int row, int head, float* memory) {
    const HeadOfStep u(p, w, row, head);
    if (u.n == 0) {
        return;
    }
    const long long ring = static_cast<long long>(u.cell) * RING;
    int held = u.held;
    __syncthreads();
    if (u.folding > 0) {
        double* sums = reinterpret_cast<double*>(memory);
        double* inputs = sums + MOST;
        if (warp() == 0) {
            scanRing(w, u, sums, inputs);
        }
        __syncthreads();
        const double m0 = w.scaM[u.cell];
        const double total = sums[u.held - 1];
        const float m = static_cast<float>(ringTop(u.held, m0, sums, inputs));
        const double keep = u.hasC ? expOf(total + m0 - m) : 0;
        __syncthreads();
        for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
            inputs[s] = expOf(total - sums[s] + inputs[s] - m);
        }
        __syncthreads();
        for (int d = static_cast<int>(threadIdx.x); d < DH; d += LRAM_THREADS) {
            float* n = w.vecN + static_cast<long long>(u.cell) * DH + d;
            double sum = u.hasC ? keep * *n : 0;
#pragma unroll 8
            for (int s = 0; s < u.held; s++) {
                sum += inputs[s] * w.ringK[(ring + s) * DH + d];
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
    for (int i = static_cast<int>(threadIdx.x); i < TOKENS * DH / 4; i += LRAM_THREADS) {
        const int t = i / (DH / 4);
        const int d = 4 * (i % (DH / 4));
        if (t < u.n) {
            *reinterpret_cast<float4*>(w.ringK + (ring + held + t) * DH + d) = load4(p.k + (u.token + t) * I + head * DH + d);
        }
    }
    const int t = static_cast<int>(threadIdx.x);
    if (t < u.n) {
        w.ringI[ring + held + t] = p.gateI[(u.token + t) * NH + head];
        w.ringF[ring + held + t] = logSigmoidFloat(p.gateF[(u.token + t) * NH + head]);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        w.ringLength[u.cell] = held + u.n;
    }
}

constexpr int HEAD_QUADS = (DH + 127) / 128;

// Begins to copy what the next downPhase needs.
__device__ __forceinline__ void downBegin(const StepLayer& w, const Place& at, const StepWeights& to) {
#if STEP_KEPT
    copyBegin(to.down, w.down + static_cast<long long>(at.r0) * I, at.rows * I * static_cast<int>(sizeof(Weight)));
#endif
    copyBegin(to.headNorm, w.headNorm, 4 * I);
    copyBegin(to.skip, w.skip, 4 * I);
    endCopies();
}

// Head norm, skip and gate of one token and head, by one warp. `z` and `c` are its channels' already.
__device__ __forceinline__ void mixHead(const float* from, const float4* z, const float4* c, const float* norm, const float* skip,
                                        float eps, float* to) {
    float4 h[HEAD_QUADS];
    const float rstd = normaliseRow<DH, STEP_HEAD_CENTRED>(from, eps, h);
    constexpr float one = STEP_HEAD_RESIDUAL ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < HEAD_QUADS; i++) {
        const int j = 128 * i + 4 * lane();
        if (j < DH) {
            const float4 scale = load4(norm + j);
            const float4 s = load4(skip + j);
            float4 y;
            y.x = fmaf(s.x, c[i].x, h[i].x * rstd * (one + scale.x)) * (z[i].x * sigmoidOf(z[i].x));
            y.y = fmaf(s.y, c[i].y, h[i].y * rstd * (one + scale.y)) * (z[i].y * sigmoidOf(z[i].y));
            y.z = fmaf(s.z, c[i].z, h[i].z * rstd * (one + scale.z)) * (z[i].z * sigmoidOf(z[i].z));
            y.w = fmaf(s.w, c[i].w, h[i].w * rstd * (one + scale.w)) * (z[i].w * sigmoidOf(z[i].w));
            *reinterpret_cast<float4*>(to + j) = y;
        }
    }
}

// The first unit's channels, which the up phase wrote.
struct MixAhead {
    float4 z[HEAD_QUADS];
    float4 c[HEAD_QUADS];
    bool valid;

    __device__ __forceinline__ void begin(const StepShape& p, int unit) {
        const int t = unit / NH;
        const int from = unit % NH * DH;
        valid = unit < PADDED * NH && t < ALL && t % L >= L - p.counts[min(t, ALL - 1) / L];
#pragma unroll
        for (int i = 0; i < HEAD_QUADS; i++) {
            const int j = 128 * i + 4 * lane();
            z[i] = none();
            c[i] = none();
            if (valid && j < DH) {
                z[i] = load4(p.z + t * I + from + j);
                c[i] = load4(p.c + t * I + from + j);
            }
        }
    }
};

__host__ __device__ constexpr int splitsOf(int rows) {
    int best = 1;
    int least = 1 << 30;
    for (int s = 1; s <= 8; s *= 2) {
        const int cost = (rows * s + LRAM_WARPS - 1) / LRAM_WARPS * (8 / s);
        if (cost < least && I % (4 * s) == 0) {
            least = cost;
            best = s;
        }
    }
    return best;
}

__device__ __forceinline__ void downPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                          MixAhead& ahead) {
    float* mixed = kept.work;
    float* parts = mixed + PADDED * I;
    awaitCopiesBeforeTheLast();
    __syncthreads();
#pragma unroll 1
    for (int unit = warp(); unit < PADDED * NH; unit += LRAM_WARPS) {
        const int t = unit / NH;
        const int from = unit % NH * DH;
        if (unit >= LRAM_WARPS) {
            ahead.begin(p, unit);
        }
        float* to = mixed + t * I + from;
        if (ahead.valid) {
            mixHead(p.h + t * I + from, ahead.z, ahead.c, kept.headNorm + from, kept.skip + from, p.headEps, to);
        } else {
            for (int j = lane(); j < DH; j += 32) {
                to[j] = 0.f;
            }
        }
    }
    __syncthreads();
    constexpr int splits = splitsOf(ROWS);
    constexpr int share = I / splits;
#pragma unroll 1
    for (int t = 0; t < ALL; t += TOKENS) {
#pragma unroll 1
        for (int i = warp(); i < at.rows * splits; i += LRAM_WARPS) {
            const int r = i / splits;
            const int from = i % splits * share;
#if STEP_KEPT
            const Weight* row = kept.down + r * I + from;
#else
            const Weight* row = w.down + static_cast<long long>(at.r0 + r) * I + from;
#endif
            const float sum = dotRow<share>(row, mixed + t * I + from, I);
            if (lane() < TOKENS) {
                parts[i * TOKENS + lane()] = sum;
            }
        }
        __syncthreads();
        const int i = static_cast<int>(threadIdx.x);
        const int r = i / TOKENS;
        const int token = t + i % TOKENS;
        if (r < at.rows && token < ALL) {
            float sum = 0.f;
#pragma unroll
            for (int part = 0; part < splits; part++) {
                sum += parts[(r * splits + part) * TOKENS + i % TOKENS];
            }
            if (STEP_TYPE == 2) {
                sum *= w.downScale[at.r0 + r];
            }
            p.x[token * D + at.r0 + r] += sum;
        }
        __syncthreads();
    }
    for (int pair = BLOCKS - 1 - at.block; pair < B * NH; pair += BLOCKS) {
        keepHead(p, w, pair / NH, pair % NH, kept.work);
    }
}

}  // namespace lram

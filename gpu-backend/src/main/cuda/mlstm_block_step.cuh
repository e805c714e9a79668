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
constexpr int STEP_HEAD_QUADS = 12;  // a head has up to 64 times as many channels

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
    int elementBytes;
    int keptFloats;  // shared memory for the weights
    int kept;     // whether a block's share of the large weights is copied into shared memory
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

// Where a phase stands in its grid: channels [c0, c0 + channels) of the inner width and rows [r0, r0 + rows) of x are its own.
struct Place {
    int block;
    int blocks;
    int c0;
    int channels;
    int r0;
    int rows;

    __device__ Place(const StepShape& p, int block, int blocks) : block(block), blocks(blocks) {
        const int groups = p.inner / 4;
        c0 = 4 * static_cast<int>(static_cast<long long>(block) * groups / blocks);
        channels = 4 * static_cast<int>(static_cast<long long>(block + 1) * groups / blocks) - c0;
        r0 = static_cast<int>(static_cast<long long>(block) * p.width / blocks);
        rows = static_cast<int>(static_cast<long long>(block + 1) * p.width / blocks) - r0;
    }
};

// Fp32 words of shared memory, as BlockSteps.java reckons: what a block copies of the weights before it needs them, then the
// most that a phase works with. `all` tokens are rounded up to STEP_TOKENS.
__host__ __device__ constexpr long long smallFloats(int width, int inner, int heads, int channels) {
    return width + channels * (17LL + 6 * heads) + 2LL * inner;
}

__host__ __device__ constexpr long long largeBytes(int width, int inner, int channels, int rows, int elementBytes) {
    return (2LL * channels * width + static_cast<long long>(rows) * inner) * elementBytes;
}

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

// A block's weights of one layer in shared memory. The large ones stay in device memory where there is no room.
struct StepWeights {
    float* norm;       // (D)
    float* conv;       // (channels, 4)
    float* convBias;   // (channels)
    float* maps;       // q, k, v: (3, channels, 4)
    float* gates;      // (NH, i and f, 3, channels)
    float* headNorm;   // (I)
    float* skip;       // (I)
    unsigned char* up;    // rows of u, then of z; null: in device memory
    unsigned char* down;

    __device__ StepWeights(const StepShape& p, const Place& at, float* memory) {
        const int most = 4 * ((p.inner / 4 + at.blocks - 1) / at.blocks);
        norm = memory;
        conv = norm + p.width;
        convBias = conv + 4 * most;
        maps = convBias + most;
        gates = maps + 12 * most;
        headNorm = gates + 6 * p.heads * most;
        skip = headNorm + p.inner;
        up = p.kept ? reinterpret_cast<unsigned char*>(skip + p.inner) : nullptr;
        down = p.kept ? up + 2LL * most * p.width * p.elementBytes : nullptr;
    }
};

#ifdef LRAM_EMULATED
__device__ __forceinline__ void copySixteen(void* to, const void* from) { memcpy(to, from, 16); }
__device__ __forceinline__ void endCopies() {}
__device__ __forceinline__ void awaitCopiesBeforeTheLast() {}
__device__ __forceinline__ void readAheadLine(const void*) {}
#else
__device__ __forceinline__ void copySixteen(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}
__device__ __forceinline__ void endCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
__device__ __forceinline__ void awaitCopiesBeforeTheLast() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
__device__ __forceinline__ void readAheadLine(const void* line) { asm volatile("prefetch.global.L2 [%0];" ::"l"(line)); }
#endif

// Begins to copy; bytes and both addresses are multiples of 16.
__device__ __forceinline__ void copyBegin(void* to, const void* from, long long bytes) {
    for (long long i = 16LL * threadIdx.x; i < bytes; i += 16LL * LRAM_THREADS) {
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

__device__ __forceinline__ void dotAny(const unsigned char* w, int type, const float* x, int pitch, int from, int to,
                                       float* sum) {
    if (type == 1) {
        dotRow(reinterpret_cast<const Bf16*>(w), x, pitch, from, to, sum);
    } else if (type == 0) {
        dotRow(reinterpret_cast<const float*>(w), x, pitch, from, to, sum);
    } else {
        dotRow(reinterpret_cast<const signed char*>(w), x, pitch, from, to, sum);
    }
}

// e^x to fp32 accuracy: the part of x that a float cannot hold goes in as a factor.
__device__ __forceinline__ float expOf(double x) {
    const float high = static_cast<float>(x);
    const float low = static_cast<float>(x - static_cast<double>(high));
    const float e = expf(high);
    return low == low ? fmaf(e, low, e) : e;  // of an infinity the rest is not a number
}

__device__ __forceinline__ float logSigmoidFloat(float x) { return fminf(x, 0.f) - log1pf(expf(-fabsf(x))); }

__device__ __forceinline__ float groupSum(float x, int lanes) {
    for (int d = lanes / 2; d > 0; d /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, d);
    }
    return x;
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

// Begins to copy what the next upPhase needs.
__device__ __forceinline__ void upBegin(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& to) {
    copyBegin(to.norm, w.normWeight, 4LL * p.width);
    const int channels = at.channels;
    copyBegin(to.conv, w.conv + STEP_TAPS * at.c0, 16LL * channels);
    if (w.convBias != nullptr) {
        copyBegin(to.convBias, w.convBias + at.c0, 4LL * channels);
    }
    copyBegin(to.maps, w.wq + 4 * at.c0, 16LL * channels);
    copyBegin(to.maps + 4 * channels, w.wk + 4 * at.c0, 16LL * channels);
    copyBegin(to.maps + 8 * channels, w.wv + 4 * at.c0, 16LL * channels);
    const int each = channels / 4;
    for (int i = static_cast<int>(threadIdx.x); i < 6 * p.heads * each; i += LRAM_THREADS) {
        const int line = i / each;
        const int gate = line / 3;  // head and which
        const float* from = (gate % 2 == 0 ? w.wi : w.wf) +
                            (static_cast<long long>(gate / 2) * 3 + line % 3) * p.inner + at.c0 + 4 * (i - line * each);
        copySixteen(to.gates + 4 * i, from);
    }
    if (to.up != nullptr) {
        const long long bytes = static_cast<long long>(channels) * p.width * p.elementBytes;
        const long long from = static_cast<long long>(at.c0) * p.width * p.elementBytes;
        copyBegin(to.up, static_cast<const unsigned char*>(w.upU) + from, bytes);
        copyBegin(to.up + bytes, static_cast<const unsigned char*>(w.upZ) + from, bytes);
    }
    endCopies();
}

// A warp's row of up to 128 * STEP_QUADS elements.
constexpr int STEP_QUADS = 16;

__device__ __forceinline__ void normRow(const float* x, const float* weight, int n, bool centred, bool residual, float eps,
                                        float* to) {
    float4 v[STEP_QUADS];
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < STEP_QUADS; i++) {
        const int j = 128 * i + 4 * lane();
        v[i].x = v[i].y = v[i].z = v[i].w = 0.f;
        if (j < n) {
            v[i] = load4(x + j);
        }
    }
#pragma unroll
    for (int i = 0; i < STEP_QUADS; i++) {
        sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
    }
    const float mean = centred ? warpSum(sum) / n : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < STEP_QUADS; i++) {
        if (128 * i + 4 * lane() < n) {
            v[i].x -= mean;
            v[i].y -= mean;
            v[i].z -= mean;
            v[i].w -= mean;
            squares = dot4(v[i], v[i], squares);
        }
    }
    const float rstd = 1.f / sqrtf(warpSum(squares) / n + eps);
    const float one = residual ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < STEP_QUADS; i++) {
        const int j = 128 * i + 4 * lane();
        if (j < n) {
            const float4 scale = load4(weight + j);
            float4 y;
            y.x = v[i].x * rstd * (one + scale.x);
            y.y = v[i].y * rstd * (one + scale.y);
            y.z = v[i].z * rstd * (one + scale.z);
            y.w = v[i].w * rstd * (one + scale.w);
            *reinterpret_cast<float4*>(to + j) = y;
        }
    }
}

__device__ __forceinline__ void upPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                        float* memory) {
    const int all = p.rows * p.tokens;
    const int padded = (all + STEP_TOKENS - 1) / STEP_TOKENS * STEP_TOKENS;
    const int channels = at.channels;
    const int c0 = at.c0;
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
    awaitCopiesBeforeTheLast();
    __syncthreads();
    for (int t = warp(); t < padded; t += LRAM_WARPS) {
        float* to = normed + t * p.width;
        if (t < all) {
            normRow(p.x + static_cast<long long>(t) * p.width, kept.norm, p.width, p.centred, p.residual, p.normEps, to);
        } else {
            for (int j = lane(); j < p.width; j += 32) {
                to[j] = 0.f;
            }
        }
    }
    __syncthreads();
    const long long rowBytes = static_cast<long long>(p.width) * p.elementBytes;
    for (int r = warp(); r < 2 * channels; r += LRAM_WARPS) {
        const bool isU = r < channels;
        const int row = c0 + (isU ? r : r - channels);
        const unsigned char* from =
                kept.up != nullptr ? kept.up + r * rowBytes
                                   : static_cast<const unsigned char*>(isU ? w.upU : w.upZ) + row * rowBytes;
        const float* scales = isU ? w.upUScale : w.upZScale;
        const float scale = scales == nullptr ? 1.f : scales[row];
        for (int t = 0; t < all; t += STEP_TOKENS) {
            float sum[STEP_TOKENS];
            dotAny(from, p.type, normed + t * p.width, p.width, 0, p.width, sum);
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
        const float4 taps = load4(kept.conv + STEP_TAPS * j);
        const float bias = w.convBias == nullptr ? 0.f : kept.convBias[j];
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
        const float4 weights = load4(kept.maps + 4 * (part * channels + j));
        const float* x = (part == 2 ? u : c) + (j & ~3) * padded + t;
        float sum = weights.x * x[0];
        sum = fmaf(weights.y, x[padded], sum);
        sum = fmaf(weights.z, x[2 * padded], sum);
        sum = fmaf(weights.w, x[3 * padded], sum);
        (part == 0 ? q : (part == 1 ? k : v))[j * padded + t] = sum;
        (part == 0 ? p.q : (part == 1 ? p.k : p.v))[static_cast<long long>(t) * p.inner + c0 + j] = sum;
    }
    __syncthreads();
    for (int i = warp(); i < 2 * p.heads; i += LRAM_WARPS) {
        const float* gate = kept.gates + 3 * i * channels;
        for (int t = 0; t < all; t++) {
            float sum = 0.f;
            for (int part = 0; part < 3; part++) {
                const float* x = part == 0 ? q : (part == 1 ? k : v);
                for (int j = lane(); j < channels; j += 32) {
                    sum = fmaf(gate[part * channels + j], x[j * padded + t], sum);
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
    return p.sigmoid ? logSigmoidFloat(gate) : gate;
}

// Running sums of the ring's log forget gates, and its log input gates; by one warp, for the block after the next barrier.
__device__ __forceinline__ void scanRing(const StepShape& p, const StepLayer& w, const HeadOfStep& u, double* sums,
                                         double* inputs) {
    const long long ring = static_cast<long long>(u.cell) * p.ring;
    double before = 0;
    for (int s = 0; s < u.held; s += 32) {
        const int e = s + lane();
        double f = 0;
        if (e < u.held) {
            f = w.ringF[ring + e];
            inputs[e] = stepInput(p, w.ringI[ring + e]);
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
    for (int i = static_cast<int>(threadIdx.x); i < STEP_TOKENS * dim / 4; i += LRAM_THREADS) {
        const int t = 4 * i / dim;
        float4 x;
        x.x = x.y = x.z = x.w = 0.f;
        if (t < u.n) {
            x = load4(p.q + (u.token + t) * p.inner + offset + 4 * i - t * dim);
        }
        reinterpret_cast<float4*>(queries)[i] = x;
    }
    if (warp() == LRAM_WARPS - 1) {
        scanRing(p, w, u, sums, inputs);
    }
    for (int i = warp(); i < 2 * u.n; i += LRAM_WARPS) {
        const int t = i / 2;
        const float* share = p.shares + (((u.token + t) * p.heads + head) * 2 + i % 2) * at.blocks;
        const float bias = (i % 2 == 0 ? w.bi : w.bf)[head];
        float sum = 0.f;
#pragma unroll 8
        for (int b = lane(); b < at.blocks; b += 32) {
            sum += share[b];
        }
        sum = warpSum(sum) + bias;
        if (lane() == 0) {
            gates[i % 2 * 4 + t] = sum;
            if (chunk == 0) {
                (i % 2 == 0 ? p.gateI : p.gateF)[(u.token + t) * p.heads + head] = sum;
            }
        }
    }
    __syncthreads();
    // Eight lanes a key: those of the ring, the new ones, then the normaliser.
    const int part8 = lane() & 7;
    for (int s0 = 0; s0 <= all; s0 += LRAM_THREADS / 8) {
        const int s = s0 + static_cast<int>(threadIdx.x) / 8;
        float sum[STEP_TOKENS] = {0.f, 0.f, 0.f};
        if (s < all || (s == all && u.hasC)) {
            const float* key = s == all ? w.vecN + static_cast<long long>(u.cell) * dim
                                        : (s < u.held ? w.ringK + (ring + s) * dim
                                                      : p.k + (u.token + s - u.held) * p.inner + offset);
#pragma unroll 8
            for (int d = 4 * part8; d < dim; d += 32) {
                const float4 a = load4(key + d);
                sum[0] = dot4(a, load4(queries + d), sum[0]);
                sum[1] = dot4(a, load4(queries + dim + d), sum[1]);
                sum[2] = dot4(a, load4(queries + 2 * dim + d), sum[2]);
            }
        }
#pragma unroll
        for (int t = 0; t < STEP_TOKENS; t++) {
            sum[t] = groupSum(sum[t], 8);
            if (part8 == t && s <= all) {
                dots[t * pitch + s] = sum[t];
            }
        }
    }
    if (threadIdx.x < 32) {  // the new tokens' gates follow the ring's
        double sum = u.held == 0 ? 0 : sums[u.held - 1];
        for (int t = 0; t < u.n; t++) {
            sum += logSigmoidFloat(gates[4 + t]);
            if (lane() == t) {
                sums[u.held + t] = sum;
                inputs[u.held + t] = stepInput(p, gates[t]);
            }
        }
    }
    __syncthreads();
    const double m0 = w.scaM[u.cell];
    const double total = u.held == 0 ? 0 : sums[u.held - 1];
    const double top = ringTop(p, u.held, m0, sums, inputs);
    const double m = u.folding > 0 ? static_cast<double>(static_cast<float>(top)) : top;
    const double keep = u.folding > 0 && u.hasC ? expOf(total + m0 - m) : 0;
    if (u.folding > 0) {
        for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
            writes[s] = expOf(total - sums[s] + inputs[s] - m);
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
                normaliser += expOf(total - sums[s] + inputs[s] - m) * dot;
            } else if (s <= u.held + t) {
                weight = expOf(base - sums[s] + inputs[s]);
                den += weight * dot;
            }
            weights[t * pitch + s] = static_cast<float>(weight) * p.scale * static_cast<float>(dot);
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
            const float least = p.sigmoid ? 1.f : expOf(-next);
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
        if (warp() == 0) {
            scanRing(p, w, u, sums, inputs);
        }
        __syncthreads();
        const double m0 = w.scaM[u.cell];
        const double total = sums[u.held - 1];
        const float m = static_cast<float>(ringTop(p, u.held, m0, sums, inputs));
        const double keep = u.hasC ? expOf(total + m0 - m) : 0;
        __syncthreads();
        for (int s = static_cast<int>(threadIdx.x); s < u.held; s += LRAM_THREADS) {
            inputs[s] = expOf(total - sums[s] + inputs[s] - m);
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
        w.ringF[ring + held + t] = logSigmoidFloat(p.gateF[(u.token + t) * p.heads + head]);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        w.ringLength[u.cell] = held + u.n;
    }
}

// Begins to copy what the next downPhase needs.
__device__ __forceinline__ void downBegin(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& to) {
    copyBegin(to.headNorm, w.headNorm, 4LL * p.inner);
    copyBegin(to.skip, w.skip, 4LL * p.inner);
    if (to.down != nullptr) {
        const long long rowBytes = static_cast<long long>(p.inner) * p.elementBytes;
        copyBegin(to.down, static_cast<const unsigned char*>(w.down) + at.r0 * rowBytes, at.rows * rowBytes);
    }
    endCopies();
}

// Head norm, skip and gate of one token and head, by sixteen lanes with N quads each.
template <int N>
__device__ __forceinline__ void mixHead(const StepShape& p, const StepWeights& kept, int t, int from, int dim, bool valid,
                                        float* to) {
    const int part = lane() & 15;
    const long long at = static_cast<long long>(t) * p.inner + from;
    float4 h[N];
    float4 z[N];
    float4 c[N];
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int j = 64 * i + 4 * part;
        h[i].x = h[i].y = h[i].z = h[i].w = 0.f;
        z[i] = h[i];
        c[i] = h[i];
        if (j < dim && valid) {
            h[i] = load4(p.h + at + j);
            z[i] = load4(p.z + at + j);
            c[i] = load4(p.c + at + j);
        }
    }
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        sum += (h[i].x + h[i].y) + (h[i].z + h[i].w);
    }
    const float mean = p.headCentred ? groupSum(sum, 16) / dim : 0.f;
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (64 * i + 4 * part < dim) {
            h[i].x -= mean;
            h[i].y -= mean;
            h[i].z -= mean;
            h[i].w -= mean;
            squares = dot4(h[i], h[i], squares);
        }
    }
    const float rstd = 1.f / sqrtf(groupSum(squares, 16) / dim + p.headEps);
    const float one = p.headResidual ? 1.f : 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int j = 64 * i + 4 * part;
        if (j < dim) {
            const float4 scale = load4(kept.headNorm + from + j);
            const float4 skip = load4(kept.skip + from + j);
            float4 y;
            y.x = fmaf(skip.x, c[i].x, h[i].x * rstd * (one + scale.x)) * (z[i].x * sigmoidOf(z[i].x));
            y.y = fmaf(skip.y, c[i].y, h[i].y * rstd * (one + scale.y)) * (z[i].y * sigmoidOf(z[i].y));
            y.z = fmaf(skip.z, c[i].z, h[i].z * rstd * (one + scale.z)) * (z[i].z * sigmoidOf(z[i].z));
            y.w = fmaf(skip.w, c[i].w, h[i].w * rstd * (one + scale.w)) * (z[i].w * sigmoidOf(z[i].w));
            *reinterpret_cast<float4*>(to + j) = y;
        }
    }
}

__device__ __forceinline__ void downPhase(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& kept,
                                          float* memory) {
    const int all = p.rows * p.tokens;
    const int padded = (all + STEP_TOKENS - 1) / STEP_TOKENS * STEP_TOKENS;
    const int dim = p.inner / p.heads;
    const int r0 = at.r0;
    float* mixed = memory;
    float* parts = mixed + padded * p.inner;
    awaitCopiesBeforeTheLast();
    __syncthreads();
    if (at.rows > 0) {
        const int units = padded * p.heads;
        for (int i0 = 0; i0 < units; i0 += LRAM_THREADS / 16) {
            const int i = min(i0 + static_cast<int>(threadIdx.x) / 16, units - 1);  // the last one more than once
            const int t = i / p.heads;
            const int from = (i - t * p.heads) * dim;
            const bool valid = t < all && t % p.tokens >= p.tokens - p.counts[t / p.tokens];
            if (dim <= 256) {
                mixHead<4>(p, kept, t, from, dim, valid, mixed + t * p.inner + from);
            } else {
                mixHead<STEP_HEAD_QUADS>(p, kept, t, from, dim, valid, mixed + t * p.inner + from);
            }
        }
        __syncthreads();
        const int rows = at.rows;
        const long long rowBytes = static_cast<long long>(p.inner) * p.elementBytes;
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
                const unsigned char* from = kept.down != nullptr
                                                    ? kept.down + r * rowBytes
                                                    : static_cast<const unsigned char*>(w.down) + (r0 + r) * rowBytes;
                dotAny(from, p.type, mixed + t * p.inner, p.inner, part * share, (part + 1) * share, sum);
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

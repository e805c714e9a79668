// mLSTM forward, chunkwise: whole chunks of up to 256 tokens by tensor cores, states between chunks when there are
// several.
//
// Contract: ai.lram.backend.ops.MlstmOps.forward. Layouts q, k (B, S, NH, DHQK), v, h (B, S, NH, DHHV), gates fp32.
// Rows must be multiples of 16 bytes: head sizes by 8 in bf16, by 4 in fp32.
//
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_forward.cu   (or compute_80, sm_80)
//           NVRTC: --std=c++17 --gpu-architecture=sm_90a -I<cuda>/include, mlstm_common.cuh passed as a header.
//           -DLRAM_FP32 builds the fp32 kernels (3xTF32 products), else bf16.
//           -DLRAM_WARPS, -DLRAM_GROUPS, -DLRAM_STAGES, -DLRAM_BLOCKS (least blocks to a multiprocessor) choose the
//           tiling; shared memory by forwardSharedBytes(). -DLRAM_WINDOW_ONLY and -DLRAM_STATE_ONLY leave one kernel out.
// Tried:    nvcc 13.0.88 and NVRTC 13.0 to sm_80 and sm_90a; run on an H100 and an H200 (driver 580).
// Cost:     one fresh chunk, a token and head: 2 (2 DHQK + 2 DHHV) + 12 bytes in bf16; S (DHQK + DHHV) FLOP.
// Measured: bf16, H100 80GB HBM3, copy 3.01 TB/s: B128 S150 NH4 d256 0.074 ms (floor 0.053), d640 0.172 ms (0.131),
//           both floors by bytes. 65,536 tokens, S8192 NH8 256/512, chunk 128, with states: H200 2.52 ms.
//           How: src/test/cuda/mlstm_check.cu; why: docs/performance.md.
#include "mlstm_common.cuh"

namespace lram {

// One record is the whole kernel argument, so that a caller fills a single block of memory.
struct MlstmForward {
    const void* q;
    const void* k;
    const void* v;
    const float* gateI;  // pre-activations
    const float* gateF;
    void* h;
    float* normaliser;  // (B NH, S): signed q.n of each token, which the backward pass needs; may be null
    const void* states;  // (B NH, chunks, DHQK, DHHV) in the operand type: state before each chunk, by mlstm_states.cu
    const float* statesN;  // (B NH, chunks, DHQK)
    const float* statesM;  // (B NH, chunks)
    int tokens;
    int heads;
    int dimQk;  // multiples of 16 bytes
    int dimHv;
    int chunk;  // tokens per chunk, at most 16 GROUPS
    int chunks;
    float scale;  // 1 / sqrt(DHQK)
    float eps;
    int sigmoid;  // input gate: 0 exponential, 1 sigmoid
    int normalize;
};

// Shared memory of the output kernel: ring of tiles, totals of the gate scan, gates, the state's n.
__host__ __device__ constexpr int forwardSharedBytes(int warps, int groups, int stages, int dimQk, bool state) {
    return stages * (16 * warps + 16 * groups) * ROW + (2 * warps + 2) * 8 + 6 * 16 * groups * 4 +
           (state ? (dimQk + 63) / 64 * 64 * 4 : 0);
}

// h of one query tile of 16 WARPS tokens. Each warp owns 16 query rows against all keys of the chunk up to them.
//
// Why this tiling. A row of weights needs the whole key dimension but not the value dimension: so first S = Q K^T is
// accumulated over DHQK slices with all (at most 16 GROUPS) keys at once, in registers; it becomes P in registers
// (accumulator layout = A layout), and then each DHHV slice is one product P V, finished and written at once. Registers
// do not grow with either head dimension (640 costs what 64 costs), Q and K pass once, V passes once, and nothing is
// rescaled. Query tiles of one chunk are neighbours in the grid, so K and V come from L2 for all but the first. With
// one chunk and a fresh state there is no other traffic.
template <typename T, int WARPS, int GROUPS, int STAGES, bool STATE>
__device__ __forceinline__ void forwardBlock(const MlstmForward& p, unsigned char* shared) {
    using U = Unit<T>;
    constexpr int THREADS = 32 * WARPS;
    constexpr int QUERIES = 16 * WARPS;
    constexpr int KEYS = 16 * GROUPS;
    constexpr int STAGE = (QUERIES + KEYS) * ROW;
    constexpr int TILES = U::WIDTH / 8;
    constexpr int PARTS = 16 / U::STEP;
    static_assert(KEYS >= U::WIDTH && STAGES >= 2, "a state slice must fit the key tile");

    const int queryTiles = (p.chunk + QUERIES - 1) / QUERIES;
    const int tile = queryTiles - 1 - static_cast<int>(blockIdx.x % queryTiles);  // longest first
    const Place place(blockIdx.x / queryTiles, p.heads, p.chunks);
    const int chunk = place.chunk;
    const int pair = place.pair;
    const int batch = pair / p.heads;
    const int head = pair % p.heads;
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const int first = tile * QUERIES;
    if (first >= count) {
        return;
    }
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = first + 16 * warp;
    const int groups = row < count ? row / 16 + 1 : 0;  // key groups on or below the diagonal of this warp
    const int keys = min(first + QUERIES, count);
    const int keyRows = (keys + 15) & ~15;

    const long long token = (static_cast<long long>(batch) * p.tokens + from) * p.heads + head;
    const T* q = static_cast<const T*>(p.q) + (token + static_cast<long long>(first) * p.heads) * p.dimQk;
    const T* k = static_cast<const T*>(p.k) + token * p.dimQk;
    const T* v = static_cast<const T*>(p.v) + token * p.dimHv;
    const int strideQk = p.heads * p.dimQk;
    const int strideHv = p.heads * p.dimHv;
    const long long stateIndex = static_cast<long long>(pair) * p.chunks + chunk;
    const T* state = STATE ? static_cast<const T*>(p.states) + stateIndex * p.dimQk * p.dimHv : nullptr;

    const unsigned ring = sharedAddress(shared);
    double* totals = reinterpret_cast<double*>(shared + STAGES * STAGE);
    float* floats = reinterpret_cast<float*>(totals + 2 * WARPS + 2);
    const Gates gates = {floats,           floats + KEYS, floats + 2 * KEYS, floats + 3 * KEYS, floats + 4 * KEYS,
                         floats + 5 * KEYS};
    float* vecN = floats + 6 * KEYS;

    const int slicesQk = (p.dimQk + U::WIDTH - 1) / U::WIDTH;
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;
    const int perSlice = STATE ? slicesQk + 1 : 1;
    const int items = slicesQk + slicesHv * perSlice;

    // The ring's items in order: (Q, K) slices; then for each DHHV slice the (Q, C) slices, if there is a state, and V.
    int issued = 0;
    int intoStage = 0;
    auto issue = [&]() {
        if (issued < items) {
            unsigned a = ring + intoStage * STAGE;
            unsigned b = a + QUERIES * ROW;
            if (issued < slicesQk) {
                loadTile<T, THREADS>(a, q, strideQk, QUERIES, count - first, issued * U::WIDTH, p.dimQk);
                loadTile<T, THREADS>(b, k, strideQk, keyRows, keys, issued * U::WIDTH, p.dimQk);
            } else {
                int slice = (issued - slicesQk) / perSlice;
                int part = (issued - slicesQk) % perSlice;
                if (STATE && part < slicesQk) {
                    loadTile<T, THREADS>(a, q, strideQk, QUERIES, count - first, part * U::WIDTH, p.dimQk);
                    loadTile<T, THREADS>(b, state + static_cast<long long>(part) * U::WIDTH * p.dimHv, p.dimHv,
                                         U::WIDTH, p.dimQk - part * U::WIDTH, slice * U::WIDTH, p.dimHv);
                } else {
                    loadTile<T, THREADS>(b, v, strideHv, keyRows, keys, slice * U::WIDTH, p.dimHv);
                }
            }
            issued++;
            intoStage = intoStage + 1 == STAGES ? 0 : intoStage + 1;
        }
        commitCopies();
    };
    int stage = 0;
    auto next = [&]() -> unsigned {
        awaitCopies<STAGES - 2>();
        __syncthreads();  // everyone's copies of this item have landed, and everyone is done with the stage refilled
                          // next
        issue();
        unsigned at = ring + stage * STAGE;
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        return at;
    };

    GateScan<THREADS, KEYS> scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        issue();
    }
    scan.scan(gates, totals, count, STATE ? p.statesM[stateIndex] : 0.f,
              p.sigmoid != 0);  // while the first tiles travel
    if (STATE) {
        const float* n = p.statesN + stateIndex * p.dimQk;
        for (int x = threadIdx.x; x < slicesQk * U::WIDTH; x += THREADS) {
            vecN[x] = x < p.dimQk ? n[x] : 0.f;
        }
    }

    float s[GROUPS][8];
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
#pragma unroll
        for (int c = 0; c < 8; c++) {
            s[j][c] = 0.f;
        }
    }
    float carriedLow = 0.f;
    float carriedHigh = 0.f;
#pragma unroll 1
    for (int slice = 0; slice < slicesQk; slice++) {
        unsigned tileQ = next();
        unsigned tileK = tileQ + QUERIES * ROW;
#pragma unroll
        for (int step = 0; step < U::WIDTH / U::STEP; step++) {
            typename U::A a = U::loadA(tileQ, 16 * warp, step, lane);
            if (STATE) {
                U::dot(a, vecN + slice * U::WIDTH + step * U::STEP, lane, carriedLow, carriedHigh);
            }
#pragma unroll
            for (int j = 0; j < GROUPS; j++) {
                if (j < groups) {
                    typename U::B b = U::loadBRowsN(tileK, 16 * j, step, lane);
                    U::mma(s[j], a, b, 0);
                    U::mma(s[j] + 4, a, b, 1);
                }
            }
        }
    }

    const int low = row + (lane >> 2);
    const int high = low + 8;
    float sumLow = 0.f;
    float sumHigh = 0.f;
    float factorLow = 0.f;
    float factorHigh = 0.f;
    float inverseLow = 1.f;
    float inverseHigh = 1.f;
    typename U::A weights[GROUPS][PARTS];
    if (groups > 0) {
        const float topLow = gates.mHigh[low];
        const float topLowRest = gates.mLow[low];
        const float topHigh = gates.mHigh[high];
        const float topHighRest = gates.mLow[high];
#pragma unroll
        for (int j = 0; j < GROUPS; j++) {
            if (j < groups) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    int column = 16 * j + 8 * (c >> 1) + 2 * (lane & 3) + (c & 1);
                    int at = 4 * (c >> 1) + (c & 1);
                    float u = gates.uHigh[column];
                    float rest = gates.uLow[column];
                    float wLow = column <= low ? fastExp((u - topLow) + (rest - topLowRest)) * p.scale : 0.f;
                    float wHigh = column <= high ? fastExp((u - topHigh) + (rest - topHighRest)) * p.scale : 0.f;
                    s[j][at] = column <= low ? s[j][at] * wLow : 0.f;
                    s[j][at + 2] = column <= high ? s[j][at + 2] * wHigh : 0.f;
                    sumLow += s[j][at];
                    sumHigh += s[j][at + 2];
                }
                U::fromAccumulators(s[j], weights[j]);
            }
        }
        if (STATE) {
            factorLow = gates.carry[low] * p.scale;
            factorHigh = gates.carry[high] * p.scale;
            sumLow += carriedLow * factorLow;
            sumHigh += carriedHigh * factorHigh;
        }
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
            sumLow += __shfl_xor_sync(0xffffffffu, sumLow, d);
            sumHigh += __shfl_xor_sync(0xffffffffu, sumHigh, d);
        }
        if (p.normalize) {
            inverseLow = 1.f / (fmaxf(fabsf(sumLow), gates.floor[low]) + p.eps);
            inverseHigh = 1.f / (fmaxf(fabsf(sumHigh), gates.floor[high]) + p.eps);
        }
        if (p.normaliser != nullptr && (lane & 3) == 0) {
            float* to = p.normaliser + static_cast<long long>(pair) * p.tokens + from;
            if (low < count) {
                to[low] = sumLow;
            }
            if (high < count) {
                to[high] = sumHigh;
            }
        }
    }

    T* h = static_cast<T*>(p.h) + token * p.dimHv;
#pragma unroll 1
    for (int slice = 0; slice < slicesHv; slice++) {
        float o[TILES][4];
#pragma unroll
        for (int x = 0; x < TILES; x++) {
            o[x][0] = o[x][1] = o[x][2] = o[x][3] = 0.f;
        }
        if (STATE) {
#pragma unroll 1
            for (int part = 0; part < slicesQk; part++) {
                unsigned tileQ = next();
                unsigned tileC = tileQ + QUERIES * ROW;
                if (groups > 0) {
#pragma unroll
                    for (int step = 0; step < U::WIDTH / U::STEP; step++) {
                        typename U::A a = U::loadA(tileQ, 16 * warp, step, lane);
#pragma unroll
                        for (int x = 0; x < TILES / 2; x++) {
                            typename U::B b = U::loadBRowsK(tileC, step * U::STEP, x, lane);
                            U::mma(o[2 * x], a, b, 0);
                            U::mma(o[2 * x + 1], a, b, 1);
                        }
                    }
                }
            }
#pragma unroll
            for (int x = 0; x < TILES; x++) {
                o[x][0] *= factorLow;
                o[x][1] *= factorLow;
                o[x][2] *= factorHigh;
                o[x][3] *= factorHigh;
            }
        }
        unsigned strip = next();
        unsigned tileV = strip + QUERIES * ROW;
        strip += 16 * warp * ROW;
        if (groups > 0) {
#pragma unroll
            for (int j = 0; j < GROUPS; j++) {
                if (j < groups) {
#pragma unroll
                    for (int part = 0; part < PARTS; part++) {
#pragma unroll
                        for (int x = 0; x < TILES / 2; x++) {
                            typename U::B b = U::loadBRowsK(tileV, 16 * j + part * U::STEP, x, lane);
                            U::mma(o[2 * x], weights[j][part], b, 0);
                            U::mma(o[2 * x + 1], weights[j][part], b, 1);
                        }
                    }
                }
            }
            // The query part of the stage, which V leaves free, is the strip for the outgoing rows.
            storeRows<T>(strip, o, inverseLow, inverseHigh,
                         h + static_cast<long long>(row) * strideHv + slice * U::WIDTH, strideHv, count - row,
                         p.dimHv - slice * U::WIDTH, lane);
        }
    }
}

// BLOCKS: least blocks to an SM; caps the registers so that one block's copies overlap another's products.
template <typename T, int WARPS, int GROUPS, int STAGES, bool STATE, int BLOCKS>
__global__ void __launch_bounds__(32 * WARPS, BLOCKS) mlstmForwardKernel(const __grid_constant__ MlstmForward p) {
    forwardBlock<T, WARPS, GROUPS, STAGES, STATE>(p, sharedBytes);
}

}  // namespace lram

#ifndef LRAM_TEMPLATES_ONLY
#ifdef LRAM_FP32
#define LRAM_TYPE float
#else
#define LRAM_TYPE __nv_bfloat16
#endif
#ifndef LRAM_WARPS
#define LRAM_WARPS 5
#endif
#ifndef LRAM_GROUPS
#define LRAM_GROUPS 10
#endif
#ifndef LRAM_STAGES
#define LRAM_STAGES 3
#endif
#ifndef LRAM_BLOCKS
#define LRAM_BLOCKS 1
#endif
#ifndef LRAM_STATE_ONLY
extern "C" __global__ void __launch_bounds__(32 * LRAM_WARPS, LRAM_BLOCKS)
        mlstm_forward(const __grid_constant__ lram::MlstmForward p) {
    lram::forwardBlock<LRAM_TYPE, LRAM_WARPS, LRAM_GROUPS, LRAM_STAGES, false>(p, lram::sharedBytes);
}
#endif

#ifndef LRAM_WINDOW_ONLY
extern "C" __global__ void __launch_bounds__(32 * LRAM_WARPS, LRAM_BLOCKS)
        mlstm_forward_state(const __grid_constant__ lram::MlstmForward p) {
    lram::forwardBlock<LRAM_TYPE, LRAM_WARPS, LRAM_GROUPS, LRAM_STAGES, true>(p, lram::sharedBytes);
}
#endif
#endif

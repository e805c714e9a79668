// mLSTM states between chunks, forward and backward: gates of every chunk, their scan over the chunks, what every chunk adds
// to the state, the scan of the states. Nothing but two scans runs in the order of the chunks, so one long sequence fills
// the device as many short ones do.
//
// Order, forward:  mlstm_chunk_gates, mlstm_scan_gates, mlstm_chunk_states, mlstm_scan_states, then mlstm_forward_state.
//        backward: mlstm_backward_rows, mlstm_chunk_states, mlstm_scan_states in reverse, then mlstm_backward_chunk.
// Contract, compiling: as mlstm_forward.cu; -DLRAM_FP32 for fp32. Shared memory of mlstm_chunk_states by
// chunkStatesSharedBytes().
// Tried:    nvcc 13.0.88 to sm_80 and sm_90a; run on an H200 (driver 580).
// Cost:     2 DHQK DHHV FLOP a token and head; a state is written, read and written again a chunk.
#include "mlstm_states.cuh"

namespace lram {

constexpr int GATE_THREADS = 256;
constexpr int GATE_CHUNK = 256;  // tokens of a chunk at most

struct MlstmGates {
    const float* gateI;  // (B, S, NH) pre-activations
    const float* gateF;
    const float* initialM;  // (B NH); null for the fresh state
    float* weights;         // (B NH, S): of each token in what its chunk adds, by the chunk's own stabiliser
    double* own;            // (B NH, chunks, 2): sum of log forget gates, the chunk's own stabiliser
    float* statesM;         // (B NH, chunks): stabiliser before each chunk
    float* decays;          // (B NH, chunks): weight of the state before a chunk in the state after it
    float* factors;         // (B NH, chunks): weight of what the chunk adds
    float* lastM;           // (B NH); may be null
    int tokens;
    int heads;
    int chunk;
    int chunks;
    int pairs;
    int sigmoid;
};

__device__ __forceinline__ void chunkGatesBlock(const MlstmGates& p) {
    using Scan = GateScan<GATE_THREADS, GATE_CHUNK>;
    __shared__ double totals[Scan::TOTALS];
    __shared__ float floats[6 * GATE_CHUNK];
    const Gates gates = {floats,
                         floats + GATE_CHUNK,
                         floats + 2 * GATE_CHUNK,
                         floats + 3 * GATE_CHUNK,
                         floats + 4 * GATE_CHUNK,
                         floats + 5 * GATE_CHUNK};
    const int pair = blockIdx.x / p.chunks;
    const int from = blockIdx.x % p.chunks * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const long long token = (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    Scan scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
    scan.scan(gates, totals, count, -INFINITE, p.sigmoid != 0);
    __syncthreads();
    const double b = totals[2 * Scan::WARPS];
    const double m = p.sigmoid ? 0. : b + totals[2 * Scan::WARPS + 1];
    const double top = m - b;
    const float topHigh = static_cast<float>(top);
    const float topLow = static_cast<float>(top - topHigh);
    for (int t = threadIdx.x; t < count; t += GATE_THREADS) {
        p.weights[static_cast<long long>(pair) * p.tokens + from + t] =
                fastExp((gates.uHigh[t] - topHigh) + (gates.uLow[t] - topLow));
    }
    if (threadIdx.x == 0) {
        p.own[2 * blockIdx.x] = b;
        p.own[2 * blockIdx.x + 1] = m;
    }
}

// One warp a head, 32 chunks at a time: a scan over (b, m) with (b1, m1)(b2, m2) = (b1 + b2, max(m1 + b2, m2)). Stabilisers
// leave rounded to fp32, and every weight is taken relative to the rounded values, so (C, n, m) agree exactly.
__device__ __forceinline__ void scanGatesWarp(const MlstmGates& p) {
    const int pair = blockIdx.x;
    const int lane = threadIdx.x;
    double before = p.initialM != nullptr && !p.sigmoid ? p.initialM[pair] : 0.;
    for (int first = 0; first < p.chunks; first += 32) {
        const long long index = static_cast<long long>(pair) * p.chunks + first + lane;
        const bool valid = first + lane < p.chunks;
        const double ownB = valid ? p.own[2 * index] : 0.;
        const double ownM = valid ? p.own[2 * index + 1] : -INFINITE;
        double b = ownB;
        double m = ownM;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            const double b1 = __shfl_up_sync(0xffffffffu, b, d);
            const double m1 = __shfl_up_sync(0xffffffffu, m, d);
            if (lane >= d) {
                m = fmax(m1 + b, m);
                b += b1;
            }
        }
        const double after = p.sigmoid ? 0. : static_cast<double>(static_cast<float>(fmax(before + b, m)));
        double previous = __shfl_up_sync(0xffffffffu, after, 1);
        previous = lane == 0 ? before : previous;
        if (valid) {
            p.statesM[index] = static_cast<float>(previous);
            p.decays[index] = expf(static_cast<float>(previous + ownB - after));
            p.factors[index] = expf(static_cast<float>(ownM - after));
            if (p.lastM != nullptr && first + lane == p.chunks - 1) {
                p.lastM[pair] = static_cast<float>(after);
            }
        }
        before = __shfl_sync(0xffffffffu, after, 31);
    }
}

constexpr int STATE_TOKENS = 64;
constexpr int STATE_WARPS = 8;

__host__ __device__ constexpr int chunkStatesSharedBytes(int chunk) {
    return 2 * 4 * STATE_TOKENS * ROW + 2 * ((chunk + STATE_TOKENS - 1) / STATE_TOKENS * STATE_TOKENS) * 4;
}

// What one chunk adds: sum_t w_t rows_t columns_t^T, 2 WIDTH x 2 WIDTH of it a block, WIDTH / 2 x WIDTH a warp. It goes into
// the slot the chunk leads to. Grid (B NH chunks x DHHV tiles x DHQK tiles), the last fastest.
template <typename T>
__device__ __forceinline__ void chunkStatesBlock(const MlstmStates& p, unsigned char* shared) {
    using U = Unit<T>;
    constexpr int THREADS = 32 * STATE_WARPS;
    constexpr int TILE = STATE_TOKENS * ROW;  // one slice of rows or columns
    constexpr int GROUPS = U::WIDTH / 32;     // of 16 rows a warp
    constexpr int TILES = U::WIDTH / 8;
    const int tilesQk = (p.dimQk + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int tilesHv = (p.dimHv + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int tileQk = blockIdx.x % tilesQk;
    const int tileHv = blockIdx.x / tilesQk % tilesHv;
    const Place place(blockIdx.x / (tilesQk * tilesHv), p.heads, p.chunks);
    const int pair = place.pair;
    const int chunk = place.chunk;
    const int slot = p.reverse ? chunk - 1 : chunk + 1;
    const bool toLast = slot < 0 || slot == p.chunks;
    if (toLast && p.lastC == nullptr) {
        return;
    }
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const int rowFrom = tileQk * 2 * U::WIDTH;
    const int columnFrom = tileHv * 2 * U::WIDTH;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int warpRow = (warp & 3) * (U::WIDTH / 2);
    const int warpColumn = (warp >> 2) * U::WIDTH;
    const bool active = rowFrom + warpRow < p.dimQk && columnFrom + warpColumn < p.dimHv;

    const unsigned ring = sharedAddress(shared);
    float* weights = reinterpret_cast<float*>(shared + 8 * TILE);
    const int parts = (count + STATE_TOKENS - 1) / STATE_TOKENS;
    float* weightsN = weights + parts * STATE_TOKENS;
    const long long token = (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    const T* rows = static_cast<const T*>(p.rows) + token * p.dimQk;
    const T* columns = static_cast<const T*>(p.columns) + token * p.dimHv;
    const int strideQk = p.heads * p.dimQk;
    const int strideHv = p.heads * p.dimHv;

    auto issue = [&](int part) {
        if (part < parts) {
            const unsigned to = ring + (part & 1) * 4 * TILE;
            const int at = part * STATE_TOKENS;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                loadTile<T, THREADS>(to + half * TILE, rows + static_cast<long long>(at) * strideQk, strideQk,
                                     STATE_TOKENS, count - at, rowFrom + half * U::WIDTH, p.dimQk);
                loadTile<T, THREADS>(to + (2 + half) * TILE, columns + static_cast<long long>(at) * strideHv, strideHv,
                                     STATE_TOKENS, count - at, columnFrom + half * U::WIDTH, p.dimHv);
            }
        }
        commitCopies();
    };
    issue(0);
    for (int t = threadIdx.x; t < parts * STATE_TOKENS; t += THREADS) {
        const long long own = static_cast<long long>(pair) * p.tokens + from + t;
        weights[t] = t < count ? p.weights[own] : 0.f;
        weightsN[t] = t < count ? p.weightsN[own] : 0.f;
    }

    float c[GROUPS][TILES][4];
    float n[GROUPS][2];
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
        n[g][0] = n[g][1] = 0.f;
#pragma unroll
        for (int x = 0; x < TILES; x++) {
            c[g][x][0] = c[g][x][1] = c[g][x][2] = c[g][x][3] = 0.f;
        }
    }
#pragma unroll 1
    for (int part = 0; part < parts; part++) {
        awaitCopies<0>();
        __syncthreads();
        issue(part + 1);
        if (!active) {
            continue;
        }
        const unsigned tiles = ring + (part & 1) * 4 * TILE;
        const unsigned tileA = tiles + warpRow / U::WIDTH * TILE;
        const unsigned tileB = tiles + (2 + warpColumn / U::WIDTH) * TILE;
        const float* w = weights + part * STATE_TOKENS;
        const float* z = weightsN + part * STATE_TOKENS;
#pragma unroll
        for (int step = 0; step < STATE_TOKENS / U::STEP; step++) {
            typename U::A a[GROUPS];
#pragma unroll
            for (int g = 0; g < GROUPS; g++) {
                a[g] = U::loadAWeighted(tileA, step * U::STEP, warpRow % U::WIDTH / 16 + g, w, z, lane, n[g][0], n[g][1]);
            }
#pragma unroll
            for (int x = 0; x < TILES / 2; x++) {
                typename U::B b = U::loadBRowsK(tileB, step * U::STEP, x, lane);
#pragma unroll
                for (int g = 0; g < GROUPS; g++) {
                    U::mma(c[g][2 * x], a[g], b, 0);
                    U::mma(c[g][2 * x + 1], a[g], b, 1);
                }
            }
        }
    }
    if (!active) {
        return;
    }
    const float factor = p.factors != nullptr ? p.factors[static_cast<long long>(pair) * p.chunks + chunk] : 1.f;
    const long long index = toLast ? pair : static_cast<long long>(pair) * p.chunks + slot;
    float* toN = toLast ? p.lastN : p.statesN;
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float sum = n[g][r];
#pragma unroll
            for (int d = 1; d < 4; d *= 2) {
                sum += __shfl_xor_sync(0xffffffffu, sum, d);
            }
            const int row = rowFrom + warpRow + 16 * g + (lane >> 2) + 8 * r;
            if (row >= p.dimQk) {
                continue;
            }
            const long long at = index * p.dimQk + row;
#pragma unroll
            for (int x = 0; x < TILES; x++) {
                const int column = columnFrom + warpColumn + 8 * x + 2 * (lane & 3);
                if (column < p.dimHv) {
                    const float low = c[g][x][2 * r] * factor;
                    const float high = c[g][x][2 * r + 1] * factor;
                    if (toLast) {
                        *reinterpret_cast<float2*>(p.lastC + at * p.dimHv + column) = make_float2(low, high);
                    } else {
                        U::storeGlobal2(static_cast<T*>(p.states) + at * p.dimHv + column, low, high);
                    }
                }
            }
            if (tileHv == 0 && warpColumn == 0 && (lane & 3) == 0) {
                toN[at] = sum * factor;
            }
        }
    }
}

constexpr int SCAN_THREADS = 256;
constexpr int SCAN_AHEAD = 4;

__host__ __device__ constexpr int scanStatesBlocks(int dimQk, int dimHv, int vector) {
    return (dimQk * dimHv / vector + SCAN_THREADS - 1) / SCAN_THREADS;
}

// slot' = decay slot + what its chunk added, 16 bytes of C a thread, carried in fp32; the blocks after those do n. Grid
// (scanStatesBlocks() + blocks of n, B NH).
template <typename T>
__device__ __forceinline__ void scanStatesBlock(const MlstmStates& p) {
    using U = Unit<T>;
    constexpr int VECTOR = U::VECTOR;
    const int pair = blockIdx.y;
    const long long slots = static_cast<long long>(pair) * p.chunks;
    const float* decays = p.decays + slots;
    const int step = p.reverse ? -1 : 1;
    const int firstSlot = p.reverse ? p.chunks - 1 : 0;
    const int blocksC = scanStatesBlocks(p.dimQk, p.dimHv, VECTOR);
    if (static_cast<int>(blockIdx.x) >= blocksC) {
        const int d = (blockIdx.x - blocksC) * SCAN_THREADS + threadIdx.x;
        if (d >= p.dimQk) {
            return;
        }
        const long long own = static_cast<long long>(pair) * p.dimQk + d;
        float n = p.firstN != nullptr ? p.firstN[own] : 0.f;
        float* at = p.statesN + (slots + firstSlot) * p.dimQk + d;
        *at = n;
        for (int j = 1; j < p.chunks; j++) {
            at += static_cast<long long>(step) * p.dimQk;
            n = n * decays[p.reverse ? p.chunks - j : j - 1] + *at;
            *at = n;
        }
        if (p.lastC != nullptr) {
            p.lastN[own] += n * decays[p.reverse ? 0 : p.chunks - 1];
        }
        return;
    }
    const long long cells = static_cast<long long>(p.dimQk) * p.dimHv;
    const long long cell = (static_cast<long long>(blockIdx.x) * SCAN_THREADS + threadIdx.x) * VECTOR;
    if (cell >= cells) {
        return;
    }
    float c[VECTOR];
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        c[e] = p.firstC != nullptr ? p.firstC[pair * cells + cell + e] : 0.f;
    }
    T* at = static_cast<T*>(p.states) + (slots + firstSlot) * cells + cell;
    const long long stride = step * cells;
    U::storeVector(at, c);
    for (int j = 1; j < p.chunks; j += SCAN_AHEAD) {
        float4 added[SCAN_AHEAD];
#pragma unroll
        for (int a = 0; a < SCAN_AHEAD; a++) {
            added[a] = j + a < p.chunks ? *reinterpret_cast<const float4*>(at + (1 + a) * stride) : make_float4(0, 0, 0, 0);
        }
#pragma unroll
        for (int a = 0; a < SCAN_AHEAD; a++) {
            if (j + a < p.chunks) {
                const float decay = decays[p.reverse ? p.chunks - j - a : j + a - 1];
                float x[VECTOR];
                U::unpackVector(added[a], x);
#pragma unroll
                for (int e = 0; e < VECTOR; e++) {
                    c[e] = c[e] * decay + x[e];
                }
                at += stride;
                U::storeVector(at, c);
            }
        }
    }
    if (p.lastC != nullptr) {
        const float decay = decays[p.reverse ? 0 : p.chunks - 1];
#pragma unroll
        for (int e = 0; e < VECTOR; e++) {
            p.lastC[pair * cells + cell + e] += c[e] * decay;
        }
    }
}

#ifdef LRAM_TEMPLATES_ONLY
__global__ void __launch_bounds__(GATE_THREADS) mlstmChunkGatesKernel(const __grid_constant__ MlstmGates p) {
    chunkGatesBlock(p);
}

__global__ void __launch_bounds__(32) mlstmScanGatesKernel(const __grid_constant__ MlstmGates p) { scanGatesWarp(p); }

template <typename T>
__global__ void __launch_bounds__(32 * STATE_WARPS, 2) mlstmChunkStatesKernel(const __grid_constant__ MlstmStates p) {
    chunkStatesBlock<T>(p, sharedBytes);
}

template <typename T>
__global__ void __launch_bounds__(SCAN_THREADS) mlstmScanStatesKernel(const __grid_constant__ MlstmStates p) {
    scanStatesBlock<T>(p);
}
#endif

}  // namespace lram

#ifndef LRAM_TEMPLATES_ONLY
#ifdef LRAM_FP32
#define LRAM_TYPE float
#else
#define LRAM_TYPE __nv_bfloat16
#endif
extern "C" __global__ void __launch_bounds__(lram::GATE_THREADS)
        mlstm_chunk_gates(const __grid_constant__ lram::MlstmGates p) {
    lram::chunkGatesBlock(p);
}

extern "C" __global__ void __launch_bounds__(32) mlstm_scan_gates(const __grid_constant__ lram::MlstmGates p) {
    lram::scanGatesWarp(p);
}

extern "C" __global__ void __launch_bounds__(32 * lram::STATE_WARPS, 2)
        mlstm_chunk_states(const __grid_constant__ lram::MlstmStates p) {
    lram::chunkStatesBlock<LRAM_TYPE>(p, lram::sharedBytes);
}

extern "C" __global__ void __launch_bounds__(lram::SCAN_THREADS)
        mlstm_scan_states(const __grid_constant__ lram::MlstmStates p) {
    lram::scanStatesBlock<LRAM_TYPE>(p);
}
#endif

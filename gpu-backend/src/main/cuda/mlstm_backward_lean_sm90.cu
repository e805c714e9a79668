// mLSTM backward of one chunk with states by warpgroup products: what mlstm_backward_chunk (mlstm_backward.cu) computes, for
// bf16, chunks of up to 128 tokens, sm_90a only. For heads too wide for mlstm_backward_kept_sm90.cu. A warpgroup of its own
// copies: the code that finds the next tile stands once, not at every place that needs one, and nobody waits for all others
// at every stage.
//
// Contract, order: as mlstm_backward_chunk. Formulas and sums: backwardBlock there. 384 threads.
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_backward_lean_sm90.cu; on another target the
//           body traps. Shared memory by backwardLeanSharedBytes(): 214 KiB.
// Tried:    nvcc 13.0.88, no registers spilled; right on an H200, not timed.
#include "mlstm_backward.cuh"
#include "mlstm_pipeline.cuh"

namespace lram {

constexpr int LEAN_ROWS = 128;  // tokens of a chunk at most
constexpr int LEAN_STAGES = 4;

__host__ __device__ constexpr int backwardLeanSharedBytes() {
    return 12 * LEAN_ROWS * ROW + 8 * 16 * ROW + 18 * 8 + 11 * LEAN_ROWS * 4 + 16 * LEAN_STAGES;
}

template <int WHICH>
struct LeanHalf {
    static constexpr int HALF = WHICH;
};

// Outputs two slices of 64 columns at a time. A ring stage holds 32 KiB:
//   scores:    a slice of Q and of K, or of dH and of V
//   dv:        a slice of K and the two tiles of dC that turn it into two slices of dv; after the last, two slices of dH
//   dk, dq:    a slice of V and the two tiles of dC that turn it into two slices of dk, then the same of dH, C and dq;
//              after the last, twice a slice of Q and of K
// Warpgroup w owns tokens from 64 w: its queries meet keys up to 64 (w + 1), its keys meet queries from 64 w.
__device__ __forceinline__ void backwardLeanSm90(const MlstmBackward& p, unsigned char* shared) {
    using T = __nv_bfloat16;
    using U = Unit<T>;
    constexpr int GROUPS = CONSUMERS / 32;
    constexpr int TILE = LEAN_ROWS * ROW;
    constexpr int SQUARE = U::WIDTH * ROW;
    constexpr int STAGE = 2 * TILE;
    constexpr int STEP_ALONG = 32;     // bytes of 16 columns
    constexpr int STEP_ACROSS = 2048;  // bytes of 16 rows

    const Place place(blockIdx.x, p.heads, p.chunks);
    const int pair = place.pair;
    const int chunk = place.chunk;
    const long long stateIndex = static_cast<long long>(pair) * p.chunks + chunk;
    const int from = chunk * p.chunk;
    const int count = min(p.chunk, p.tokens - from);
    const long long token = (static_cast<long long>(pair / p.heads) * p.tokens + from) * p.heads + pair % p.heads;
    const int strideQk = p.heads * p.dimQk;
    const int strideHv = p.heads * p.dimHv;
    const int pairsQk = (p.dimQk + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int pairsHv = (p.dimHv + 2 * U::WIDTH - 1) / (2 * U::WIDTH);
    const int slicesQk = (p.dimQk + U::WIDTH - 1) / U::WIDTH;
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;

    double* totals = reinterpret_cast<double*>(shared + 12 * TILE + 8 * 16 * ROW);
    float* floats = reinterpret_cast<float*>(totals + 18);
    const unsigned barriers = sharedAddress(floats + 11 * LEAN_ROWS);
    if (threadIdx.x == 0) {
        RingPlace<LEAN_STAGES>::init(barriers);
    }
    __syncthreads();
    const int role = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);  // so the compiler sees that a warpgroup goes one way
    RingPlace<LEAN_STAGES> ring(barriers, sharedAddress(shared), STAGE, LEAN_STAGES, role == CONSUMERS / 128);
    if (role == CONSUMERS / 128) {
        fewRegisters();
        const T* q = static_cast<const T*>(p.q) + token * p.dimQk;
        const T* k = static_cast<const T*>(p.k) + token * p.dimQk;
        const T* v = static_cast<const T*>(p.v) + token * p.dimHv;
        const T* dh = static_cast<const T*>(p.dh) + token * p.dimHv;
        const T* state = static_cast<const T*>(p.states) + stateIndex * p.dimQk * p.dimHv;
        const T* dState = static_cast<const T*>(p.dStates) + stateIndex * p.dimQk * p.dimHv;
        auto copy = [&](unsigned to, const T* of, int stride, int columns, int slice) {
            copyTile(to, of + slice * U::WIDTH, stride, LEAN_ROWS, count, columns - slice * U::WIDTH);
        };
#pragma unroll 1
        for (int x = 0; x < slicesQk + slicesHv; x++) {
            const bool keys = x < slicesQk;
            const int slice = keys ? x : x - slicesQk;
            const int stride = keys ? strideQk : strideHv;
            const int columns = keys ? p.dimQk : p.dimHv;
            const unsigned to = ring.acquire();
            copy(to, keys ? q : dh, stride, columns, slice);
            copy(to + TILE, keys ? k : v, stride, columns, slice);
            ring.publish();
        }
#pragma unroll 1
        for (int slice = 0; slice < pairsHv; slice++) {
#pragma unroll 1
            for (int part = 0; part < slicesQk; part++) {
                const unsigned to = ring.acquire();
                copy(to, k, strideQk, p.dimQk, part);
                const T* tile = dState + static_cast<long long>(part) * U::WIDTH * p.dimHv + 2 * slice * U::WIDTH;
                const int rows = p.dimQk - part * U::WIDTH;
                const int columns = p.dimHv - 2 * slice * U::WIDTH;
                copyTile(to + TILE, tile, p.dimHv, U::WIDTH, rows, columns);
                copyTile(to + TILE + SQUARE, tile + U::WIDTH, p.dimHv, U::WIDTH, rows, columns - U::WIDTH);
                ring.publish();
            }
            const unsigned to = ring.acquire();
            copy(to, dh, strideHv, p.dimHv, 2 * slice);
            copy(to + TILE, dh, strideHv, p.dimHv, 2 * slice + 1);
            ring.publish();
        }
#pragma unroll 1
        for (int slice = 0; slice < pairsQk; slice++) {
            const long long rows = 2LL * slice * U::WIDTH * p.dimHv;
#pragma unroll 1
            for (int part = 0; part < 2 * slicesHv; part++) {
                const bool keys = part % 2 == 0;
                const unsigned to = ring.acquire();
                copy(to, keys ? v : dh, strideHv, p.dimHv, part / 2);
                copyTile(to + TILE, (keys ? dState : state) + rows + part / 2 * U::WIDTH, p.dimHv, LEAN_ROWS,
                         p.dimQk - 2 * slice * U::WIDTH, p.dimHv - part / 2 * U::WIDTH);
                ring.publish();
            }
#pragma unroll 1
            for (int y = 0; y < 2; y++) {
                const unsigned to = ring.acquire();
                copy(to, q, strideQk, p.dimQk, 2 * slice + y);
                copy(to + TILE, k, strideQk, p.dimQk, 2 * slice + y);
                ring.publish();
            }
        }
        awaitCopies<0>();
        return;
    }
    manyRegisters();
    const int half = role;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = 16 * warp;
    const long long ownRow = static_cast<long long>(pair) * p.tokens + from;
    const long long allRows = static_cast<long long>(gridDim.x / p.chunks) * p.tokens;
    const float* stateN = p.statesN + stateIndex * p.dimQk;
    const float* dStateN = p.dStatesN + stateIndex * p.dimQk;
    const unsigned panelP = ring.tiles + LEAN_STAGES * STAGE;
    const unsigned panelW = panelP + 2 * TILE;
    const unsigned strip = panelW + 2 * TILE + warp * 16 * ROW;
    float* columnSums = reinterpret_cast<float*>(shared + 12 * TILE);  // spent before the strips are used
    const Gates gates = {floats,
                         floats + LEAN_ROWS,
                         floats + 2 * LEAN_ROWS,
                         floats + 3 * LEAN_ROWS,
                         floats + 4 * LEAN_ROWS,
                         floats + 5 * LEAN_ROWS};
    float* rowSums = floats + 6 * LEAN_ROWS;
    float* carriedRows = floats + 7 * LEAN_ROWS;
    float* carriedColumns = floats + 8 * LEAN_ROWS;
    float* normalisers = floats + 9 * LEAN_ROWS;  // of the state, two slices; then of its gradient

    auto release = [&]() {
        __syncwarp();
        if (lane < ARRIVING_LANES) {
            arrive(ring.left());
        }
        ring.step();
    };
    auto clear = [](float (&c)[64]) {
#pragma unroll
        for (int x = 0; x < 64; x++) {
            c[x] = 0.f;
        }
    };
    // One slice of the own rows of a warp, to global memory.
    auto store = [&](const float (&c)[64], int y, T* to, int stride, int columns) {
        float o[8][4];
#pragma unroll
        for (int x = 0; x < 8; x++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                o[x][e] = c[32 * y + 4 * x + e];
            }
        }
        storeRows<T>(strip, o, 1.f, 1.f, to + y * U::WIDTH, stride, count - row, columns - y * U::WIDTH, lane);
    };

    GateScan<CONSUMERS, LEAN_ROWS> scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
    scan.scan(gates, totals, count, p.statesM[stateIndex], p.sigmoid != 0);
    syncFirst<CONSUMERS>();

    GateGradients<GROUPS> gradients;
    {
        float s[64];
        float dp[64];
        auto scores = [&](float (&c)[64], int slices) {
            clear(c);
#pragma unroll 1
            for (int x = 0; x < slices; x++) {
                const unsigned tiles = ring.take();
                beginProducts();
#pragma unroll
                for (int step = 0; step < 4; step++) {
                    product<false, false>(c, alongRows(tiles + half * SQUARE + step * STEP_ALONG),
                                          alongRows(tiles + TILE + step * STEP_ALONG));
                }
                endProducts();
                release();
            }
        };
        scores(s, slicesQk);
        scores(dp, slicesHv);
        formGradients<T, GROUPS, true>(p, reinterpret_cast<float(&)[GROUPS][8]>(s),
                                       reinterpret_cast<float(&)[GROUPS][8]>(dp), 4 * (half + 1), gates, row, count,
                                       ownRow, allRows, columnSums, rowSums, panelP, panelW);
        publishShared();
        syncFirst<CONSUMERS>();
        gradients.take(columnSums, rowSums, count, GROUPS);
        syncFirst<CONSUMERS>();
    }
    const double bLast = totals[2 * GROUPS];
    const double m = p.sigmoid ? 0. : static_cast<double>(static_cast<float>(bLast + totals[2 * GROUPS + 1]));
    const double top = m - bLast;
    const float endHigh = static_cast<float>(top);
    const float endLow = static_cast<float>(top - endHigh);
    auto writes = [&](int t) { return fastExp((gates.uHigh[t] - endHigh) + (gates.uLow[t] - endLow)); };
    const int depthFrom = half * 64;

#pragma unroll 1
    for (int slice = 0; slice < pairsHv; slice++) {
        float o[64];
        clear(o);
#pragma unroll 1
        for (int part = 0; part < slicesQk; part++) {
            const unsigned tiles = ring.take();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, true>(o, alongRows(tiles + half * SQUARE + step * STEP_ALONG),
                                     acrossRows(tiles + TILE + step * STEP_ACROSS, SQUARE));
            }
            endProducts();
            release();
        }
        const float low = writes(row + (lane >> 2));
        const float high = writes(row + (lane >> 2) + 8);
#pragma unroll
        for (int x = 0; x < 16; x++) {
            o[4 * x] *= low;
            o[4 * x + 1] *= low;
            o[4 * x + 2] *= high;
            o[4 * x + 3] *= high;
        }
        const unsigned tiles = ring.take();
        beginProducts();
#pragma unroll 1
        for (int t = depthFrom; t < LEAN_ROWS; t += 16) {
            product<true, true>(o, acrossRows(panelP + half * TILE + t * ROW, 0), acrossRows(tiles + t * ROW, TILE));
        }
        endProducts();
        release();
        T* to = static_cast<T*>(p.dv) + token * p.dimHv + static_cast<long long>(row) * strideHv +
                2 * slice * U::WIDTH;
        store(o, 0, to, strideHv, p.dimHv - 2 * slice * U::WIDTH);
        store(o, 1, to, strideHv, p.dimHv - 2 * slice * U::WIDTH);
    }

    float broughtRow[2] = {0.f, 0.f};
    float broughtColumn[2] = {0.f, 0.f};
    float between = 0.f;
    float read[2];
    float readN[2];
    float write[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int t = row + (lane >> 2) + 8 * r;
        read[r] = t < count ? p.rows[2 * allRows + ownRow + t] : 0.f;
        readN[r] = t < count ? p.rows[3 * allRows + ownRow + t] : 0.f;
        write[r] = writes(t);
    }
#pragma unroll 1
    for (int slice = 0; slice < pairsQk; slice++) {
        {
            const int d = threadIdx.x % 128;
            const int column = 2 * slice * U::WIDTH + d;
            const float n = column < p.dimQk ? (threadIdx.x < 128 ? stateN : dStateN)[column] : 0.f;
            normalisers[threadIdx.x] = n;
            if (threadIdx.x < 128 && column < p.dimQk) {
                between += n * dStateN[column];
            }
        }
        syncFirst<CONSUMERS>();
        float dk[64];
        float dq[64];
        clear(dk);
        clear(dq);
#pragma unroll 1
        for (int part = 0; part < slicesHv; part++) {
            const unsigned keys = ring.take();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, false>(dk, alongRows(keys + half * SQUARE + step * STEP_ALONG),
                                      alongRows(keys + TILE + step * STEP_ALONG));
            }
            const unsigned keysLeft = ring.left();
            ring.step();
            const unsigned queries = ring.take();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, false>(dq, alongRows(queries + half * SQUARE + step * STEP_ALONG),
                                      alongRows(queries + TILE + step * STEP_ALONG));
            }
#pragma unroll 1
            for (int x = 16 * threadIdx.x; x < TILE; x += 16 * CONSUMERS) {
                between += U::dot16(loadShared4(keys + TILE + x), loadShared4(queries + TILE + x));
            }
            endProducts();
            __syncwarp();
            if (lane < ARRIVING_LANES) {
                arrive(keysLeft);
            }
            release();
        }
        auto finish = [&](auto which) {
            constexpr int Y = decltype(which)::HALF;
            const unsigned tiles = ring.take();
#pragma unroll
            for (int x = 0; x < 8; x++) {
                const int d = Y * U::WIDTH + 8 * x + 2 * (lane & 3);
                const float2 n = *reinterpret_cast<const float2*>(normalisers + d);
                const float2 dn = *reinterpret_cast<const float2*>(normalisers + 2 * U::WIDTH + d);
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    const int t = row + (lane >> 2) + 8 * r;
                    float* keyPart = dk + 32 * Y + 4 * x + 2 * r;
                    float* queryPart = dq + 32 * Y + 4 * x + 2 * r;
                    keyPart[0] = (keyPart[0] + dn.x) * write[r];
                    keyPart[1] = (keyPart[1] + dn.y) * write[r];
                    queryPart[0] = queryPart[0] * read[r] + n.x * readN[r];
                    queryPart[1] = queryPart[1] * read[r] + n.y * readN[r];
                    const float2 query = U::loadPair(tiles, t, x, lane);
                    const float2 key = U::loadPair(tiles + TILE, t, x, lane);
                    broughtColumn[r] += keyPart[0] * key.x + keyPart[1] * key.y;
                    broughtRow[r] += queryPart[0] * query.x + queryPart[1] * query.y;
                }
            }
            beginProducts();
#pragma unroll 1
            for (int t = depthFrom; t < LEAN_ROWS; t += 16) {
                productHalf<Y, true, true>(dk, acrossRows(panelW + half * TILE + t * ROW, 0), acrossRows(tiles + t * ROW, 0));
            }
#pragma unroll 1
            for (int t = 0; t < 64 * (half + 1); t += 16) {
                productHalf<Y, false, true>(dq, alongRows(panelW + t / 64 * TILE + half * SQUARE + t % 64 * 2),
                                            acrossRows(tiles + TILE + t * ROW, 0));
            }
            endProducts();
            release();
        };
        finish(LeanHalf<0>{});
        finish(LeanHalf<1>{});
        syncFirst<CONSUMERS>();  // the normalisers are spent
        const long long at = token * p.dimQk + static_cast<long long>(row) * strideQk + 2 * slice * U::WIDTH;
        const int columns = p.dimQk - 2 * slice * U::WIDTH;
        store(dk, 0, static_cast<T*>(p.dk) + at, strideQk, columns);
        store(dk, 1, static_cast<T*>(p.dk) + at, strideQk, columns);
        store(dq, 0, static_cast<T*>(p.dq) + at, strideQk, columns);
        store(dq, 1, static_cast<T*>(p.dq) + at, strideQk, columns);
    }

    finishGates(p, gradients, scan.i[0], scan.f[0], between, broughtRow, broughtColumn, carriedRows, carriedColumns, totals,
                pair, chunk, token, count);
}

}  // namespace lram

extern "C" __global__ void __launch_bounds__(lram::PRODUCERS + lram::CONSUMERS, 1)
        mlstm_backward_chunk_lean_sm90(const __grid_constant__ lram::MlstmBackward p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    lram::backwardLeanSm90(p, lram::sharedBytes);
#else
    __trap();
#endif
}

// mLSTM backward of one chunk with states by warpgroup products: what mlstm_backward_chunk (mlstm_backward.cu) computes, for
// bf16, chunks of up to 128 tokens, heads of up to 256 keys, sm_90a only. K stays in shared memory, dk and dv come from one
// reading of V and dC, dq then from one of dH and C: 1664 KiB a chunk (256/512). A warpgroup of its own copies.
//
// Contract, order: as mlstm_backward_chunk. Formulas and sums: backwardBlock there. 384 threads.
// Compile:  nvcc -std=c++17 -cubin -gencode=arch=compute_90a,code=sm_90a mlstm_backward_kept_sm90.cu; on another target the
//           body traps. Shared memory by backwardKeptSharedBytes(): 223 KiB.
// Tried:    nvcc 13.0.88, no registers spilled; run on an H200.
// Measured: H200, copy 4.2 TB/s: 65,536 tokens NH8 256/512 chunks of 128 2.44 ms (floor 0.9 by bytes). How:
//           src/test/cuda/mlstm_check.cu; why: docs/performance.md.
#include "mlstm_backward.cuh"
#include "mlstm_pipeline.cuh"

namespace lram {

constexpr int KEPT_ROWS = 128;  // tokens of a chunk at most
constexpr int KEPT_STAGES = 5;      // two more once P is spent
constexpr int KEPT_KEYS = 256;      // dimQk at most
constexpr int KEPT_SLICES = KEPT_KEYS / 64;

__host__ __device__ constexpr int backwardKeptSharedBytes() {
    return (KEPT_SLICES + 4 + KEPT_STAGES) * KEPT_ROWS * ROW + 8 * 8 * ROW + 18 * 8 + 9 * KEPT_ROWS * 4 +
           2 * KEPT_KEYS * 4 + 16 * (KEPT_STAGES + 2);
}

template <int WHICH>
struct SlicePair {
    static constexpr int INDEX = WHICH;
};

// A ring stage holds 16 KiB, 128 rows of a slice of 64 columns:
//   scores:    Q, and K into its place beside the ring; then dH, V
//   dk, dv:    for each slice of V: the slice, dC's rows 128 at a time that turn V into dk and K into a slice of dv, then
//              the slice of dH; after the last, Q
//   dq:        for each slice of dH: the slice, C's and dC's rows 128 at a time; after the last, Q
// Warpgroup w owns tokens from 64 w: its queries meet keys up to 64 (w + 1), its keys meet queries from 64 w.
__device__ __forceinline__ void backwardKeptSm90(const MlstmBackward& p, unsigned char* shared) {
    using T = __nv_bfloat16;
    using U = Unit<T>;
    constexpr int GROUPS = CONSUMERS / 32;
    constexpr int TILE = KEPT_ROWS * ROW;
    constexpr int SQUARE = U::WIDTH * ROW;
    constexpr int STEP_ALONG = 32;     // bytes of 16 columns
    constexpr int STEP_ACROSS = 2048;  // bytes of 16 rows
    constexpr int PANELS = KEPT_SLICES + KEPT_STAGES;

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
    const int slicesHv = (p.dimHv + U::WIDTH - 1) / U::WIDTH;
    const T* state = static_cast<const T*>(p.states) + stateIndex * p.dimQk * p.dimHv;

    const unsigned kept = sharedAddress(shared);
    double* totals = reinterpret_cast<double*>(shared + (PANELS + 4) * TILE + 8 * 8 * ROW);
    float* floats = reinterpret_cast<float*>(totals + 18);
    float* normalisers = floats + 9 * KEPT_ROWS;  // of the state, then of its gradient
    const unsigned barriers = sharedAddress(normalisers + 2 * KEPT_KEYS);
    if (threadIdx.x == 0) {
        RingPlace<KEPT_STAGES + 2>::init(barriers);
    }
    __syncthreads();
    const int role = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);  // so the compiler sees that a warpgroup goes one way
    RingPlace<KEPT_STAGES + 2> ring(barriers, kept + KEPT_SLICES * TILE, TILE, KEPT_STAGES, role == CONSUMERS / 128);
    if (role == CONSUMERS / 128) {
        fewRegisters();
        const T* q = static_cast<const T*>(p.q) + token * p.dimQk;
        const T* k = static_cast<const T*>(p.k) + token * p.dimQk;
        const T* v = static_cast<const T*>(p.v) + token * p.dimHv;
        const T* dh = static_cast<const T*>(p.dh) + token * p.dimHv;
        const T* dState = static_cast<const T*>(p.dStates) + stateIndex * p.dimQk * p.dimHv;
        auto send = [&](const T* of, int stride, int rows, int columns, int slice) {
            copyTile(ring.acquire(), of + slice * U::WIDTH, stride, KEPT_ROWS, rows, columns - slice * U::WIDTH);
            ring.publish();
        };
        // Two and two side by side: not the last stage and the first.
        auto queries = [&]() {
#pragma unroll 1
            for (int x = 0; x < 2 * pairsQk; x++) {
                if (x % 2 == 0 && ring.atEnd()) {
                    ring.acquire();
                    ring.publish();
                }
                send(q, strideQk, count, p.dimQk, x);
            }
        };
#pragma unroll 1
        for (int x = 0; x < 2 * pairsQk; x++) {
            copyTile(kept + x * TILE, k + x * U::WIDTH, strideQk, KEPT_ROWS, count, p.dimQk - x * U::WIDTH);
            send(q, strideQk, count, p.dimQk, x);
        }
#pragma unroll 1
        for (int x = 0; x < 2 * slicesHv; x++) {
            send(x % 2 == 0 ? dh : v, strideHv, count, p.dimHv, x / 2);
        }
#pragma unroll 1
        for (int pass = 0; pass < 2; pass++) {
#pragma unroll 1
            for (int slice = 0; slice < slicesHv; slice++) {
                send(pass == 0 ? v : dh, strideHv, count, p.dimHv, slice);
#pragma unroll 1
                for (int x = 0; x < pairsQk; x++) {
                    const long long from = 2LL * x * U::WIDTH * p.dimHv;
                    if (pass != 0) {
                        send(state + from, p.dimHv, p.dimQk - 2 * x * U::WIDTH, p.dimHv, slice);
                    }
                    send(dState + from, p.dimHv, p.dimQk - 2 * x * U::WIDTH, p.dimHv, slice);
                }
                if (pass == 0) {
                    send(dh, strideHv, count, p.dimHv, slice);
                }
            }
            queries();
            ring.limit = KEPT_STAGES + 2;
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
    const unsigned panelP = kept + PANELS * TILE;
    const unsigned panelW = panelP + 2 * TILE;
    const unsigned strip = panelW + 2 * TILE + warp * 8 * ROW;
    float* columnSums = reinterpret_cast<float*>(shared + (PANELS + 4) * TILE);  // spent before the strips are used
    const Gates gates = {floats,
                         floats + KEPT_ROWS,
                         floats + 2 * KEPT_ROWS,
                         floats + 3 * KEPT_ROWS,
                         floats + 4 * KEPT_ROWS,
                         floats + 5 * KEPT_ROWS};
    float* rowSums = floats + 6 * KEPT_ROWS;
    float* carriedRows = floats + 7 * KEPT_ROWS;
    float* carriedColumns = floats + 8 * KEPT_ROWS;

    auto leave = [&](unsigned barrier) {
        __syncwarp();
        if (lane < ARRIVING_LANES) {
            arrive(barrier);
        }
    };
    auto release = [&]() {
        leave(ring.left());
        ring.step();
    };
    // A slice of the own rows of a warp, to global memory, 8 rows at a time: half a strip.
    auto store = [&](const float* c, T* to, int stride, int columns) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
#pragma unroll
            for (int x = 0; x < 8; x++) {
                U::storeShared2(strip, x, lane, lane >> 2, c[4 * x + 2 * r], c[4 * x + 2 * r + 1]);
            }
            __syncwarp();
#pragma unroll
            for (int x = 0; x < 2; x++) {
                const int own = 4 * x + (lane >> 3);
                const int column = (lane & 7) * U::VECTOR;
                const float4 value = loadShared4(strip + swizzled(own, lane & 7));
                if (8 * r + own < count - row && column < columns) {
                    *reinterpret_cast<float4*>(to + static_cast<long long>(8 * r + own) * stride + column) = value;
                }
            }
            __syncwarp();
        }
    };

    float between = 0.f;
    {
        const float* stateN = p.statesN + stateIndex * p.dimQk;
        const float* dStateN = p.dStatesN + stateIndex * p.dimQk;
        const int d = threadIdx.x;
        const float n = d < p.dimQk ? stateN[d] : 0.f;
        const float dn = d < p.dimQk ? dStateN[d] : 0.f;
        normalisers[d] = n;
        normalisers[KEPT_KEYS + d] = dn;
        between += n * dn;
    }
    GateScan<CONSUMERS, KEPT_ROWS> scan;
    scan.load(p.gateI + token, p.gateF + token, p.heads, count);
    scan.scan(gates, totals, count, p.statesM[stateIndex], p.sigmoid != 0);
    syncFirst<CONSUMERS>();

    GateGradients<GROUPS> gradients;
    {
        float s[64];
        float dp[64];
        clear64(s);
        clear64(dp);
#pragma unroll 1
        for (int x = 0; x < 2 * pairsQk; x++) {
            const unsigned tile = ring.take();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, false>(s, alongRows(tile + half * SQUARE + step * STEP_ALONG),
                                      alongRows(kept + x * TILE + step * STEP_ALONG));
            }
            endProducts();
            release();
        }
#pragma unroll 1
        for (int x = 0; x < slicesHv; x++) {
            const unsigned gradient = ring.take();
            const unsigned gradientLeft = ring.left();
            ring.step();
            const unsigned value = ring.take();
            beginProducts();
#pragma unroll
            for (int step = 0; step < 4; step++) {
                product<false, false>(dp, alongRows(gradient + half * SQUARE + step * STEP_ALONG),
                                      alongRows(value + step * STEP_ALONG));
            }
            endProducts();
            leave(gradientLeft);
            release();
        }
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
    const long long atQk = token * p.dimQk + static_cast<long long>(row) * strideQk;

    float c[2][64];
    // The slices of c for the own rows, to dq or dk.
    auto storeAll = [&](void* to) {
#pragma unroll
        for (int x = 0; x < KEPT_SLICES; x++) {
            if (x < 2 * pairsQk) {
                store(c[x / 2] + x % 2 * 32, static_cast<T*>(to) + atQk + x * U::WIDTH, strideQk, p.dimQk - x * U::WIDTH);
            }
        }
    };

    float broughtColumn[2] = {0.f, 0.f};
    {
        const float write[2] = {writes(row + (lane >> 2)), writes(row + (lane >> 2) + 8)};
        clear64(c[0]);
        clear64(c[1]);
#pragma unroll 1
        for (int slice = 0; slice < slicesHv; slice++) {
            float o[32];
#pragma unroll
            for (int x = 0; x < 32; x++) {
                o[x] = 0.f;
            }
            const unsigned value = ring.take();
            const unsigned valueLeft = ring.left();
            ring.step();
            auto turn = [&](auto which) {
                constexpr int X = decltype(which)::INDEX;
                const unsigned tile = ring.take();
                beginProducts();
#pragma unroll
                for (int step = 0; step < 4; step++) {
                    product<false, false>(c[X], alongRows(value + half * SQUARE + step * STEP_ALONG),
                                          alongRows(tile + step * STEP_ALONG));
                }
#pragma unroll
                for (int step = 0; step < 8; step++) {
                    product64<false, true>(o,
                                           alongRows(kept + (2 * X + step / 4) * TILE + half * SQUARE + step % 4 * STEP_ALONG),
                                           acrossRows(tile + step * STEP_ACROSS, 0));
                }
                endProducts();
                release();
            };
            turn(SlicePair<0>{});
            if (pairsQk > 1) {
                turn(SlicePair<1>{});
            }
            leave(valueLeft);
#pragma unroll
            for (int x = 0; x < 8; x++) {
                o[4 * x] *= write[0];
                o[4 * x + 1] *= write[0];
                o[4 * x + 2] *= write[1];
                o[4 * x + 3] *= write[1];
            }
            const unsigned gradient = ring.take();
            beginProducts();
#pragma unroll 1
            for (int t = depthFrom; t < KEPT_ROWS; t += 16) {
                product64<true, true>(o, acrossRows(panelP + half * TILE + t * ROW, 0), acrossRows(gradient + t * ROW, 0));
            }
            endProducts();
            release();
            store(o, static_cast<T*>(p.dv) + token * p.dimHv + static_cast<long long>(row) * strideHv + slice * U::WIDTH,
                  strideHv, p.dimHv - slice * U::WIDTH);
        }
        leave(barriers + 8 * (KEPT_STAGES + 2 + KEPT_STAGES));  // P is spent
        leave(barriers + 8 * (KEPT_STAGES + 2 + KEPT_STAGES + 1));
        auto finish = [&](auto which) {
            constexpr int X = decltype(which)::INDEX;
#pragma unroll
            for (int x = 0; x < 16; x++) {
                const float2 dn = *reinterpret_cast<const float2*>(normalisers + KEPT_KEYS + 2 * X * U::WIDTH + 8 * x +
                                                                   2 * (lane & 3));
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    float* part = c[X] + 4 * x + 2 * r;
                    part[0] = (part[0] + dn.x) * write[r];
                    part[1] = (part[1] + dn.y) * write[r];
                    const float2 key = U::loadPair(kept + (2 * X + x / 8) * TILE, row + (lane >> 2) + 8 * r, x % 8, lane);
                    broughtColumn[r] += part[0] * key.x + part[1] * key.y;
                }
            }
            if (ring.atEnd()) {
                ring.take();
                release();
            }
            const unsigned tiles = ring.take();
            const unsigned tilesLeft = ring.left();
            ring.step();
            ring.take();
            beginProducts();
#pragma unroll 1
            for (int t = depthFrom; t < KEPT_ROWS; t += 16) {
                product<true, true>(c[X], acrossRows(panelW + half * TILE + t * ROW, 0), acrossRows(tiles + t * ROW, TILE));
            }
            endProducts();
            leave(tilesLeft);
            release();
        };
        finish(SlicePair<0>{});
        if (pairsQk > 1) {
            finish(SlicePair<1>{});
        }
        ring.limit = KEPT_STAGES + 2;
        storeAll(p.dk);
    }

    float broughtRow[2] = {0.f, 0.f};
    {
        float read[2];
        float readN[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int t = row + (lane >> 2) + 8 * r;
            read[r] = t < count ? p.rows[2 * allRows + ownRow + t] : 0.f;
            readN[r] = t < count ? p.rows[3 * allRows + ownRow + t] : 0.f;
        }
        clear64(c[0]);
        clear64(c[1]);
#pragma unroll 1
        for (int slice = 0; slice < slicesHv; slice++) {
            const unsigned gradient = ring.take();
            const unsigned gradientLeft = ring.left();
            ring.step();
            auto turn = [&](auto which) {
                constexpr int X = decltype(which)::INDEX;
                const unsigned tile = ring.take();
                beginProducts();
#pragma unroll
                for (int step = 0; step < 4; step++) {
                    product<false, false>(c[X], alongRows(gradient + half * SQUARE + step * STEP_ALONG),
                                          alongRows(tile + step * STEP_ALONG));
                }
                const unsigned tileLeft = ring.left();
                ring.step();
                const unsigned other = ring.take();
#pragma unroll 1
                for (int x = 16 * threadIdx.x; x < TILE; x += 16 * CONSUMERS) {
                    between += U::dot16(loadShared4(tile + x), loadShared4(other + x));
                }
                endProducts();
                leave(tileLeft);
                release();
            };
            turn(SlicePair<0>{});
            if (pairsQk > 1) {
                turn(SlicePair<1>{});
            }
            leave(gradientLeft);
        }
        auto finish = [&](auto which) {
            constexpr int X = decltype(which)::INDEX;
            if (ring.atEnd()) {
                ring.take();
                release();
            }
            const unsigned tiles = ring.take();
            const unsigned tilesLeft = ring.left();
            ring.step();
            ring.take();
#pragma unroll
            for (int x = 0; x < 16; x++) {
                const float2 n =
                        *reinterpret_cast<const float2*>(normalisers + 2 * X * U::WIDTH + 8 * x + 2 * (lane & 3));
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    float* part = c[X] + 4 * x + 2 * r;
                    part[0] = part[0] * read[r] + n.x * readN[r];
                    part[1] = part[1] * read[r] + n.y * readN[r];
                    const float2 query = U::loadPair(tiles + x / 8 * TILE, row + (lane >> 2) + 8 * r, x % 8, lane);
                    broughtRow[r] += part[0] * query.x + part[1] * query.y;
                }
            }
            leave(tilesLeft);
            release();
            beginProducts();
#pragma unroll 1
            for (int t = 0; t < 64 * (half + 1); t += 16) {
                product<false, true>(c[X], alongRows(panelW + t / 64 * TILE + half * SQUARE + t % 64 * 2),
                                     acrossRows(kept + 2 * X * TILE + t * ROW, TILE));
            }
            endProducts();
        };
        finish(SlicePair<0>{});
        if (pairsQk > 1) {
            finish(SlicePair<1>{});
        }
        storeAll(p.dq);
    }

    finishGates(p, gradients, scan.i[0], scan.f[0], between, broughtRow, broughtColumn, carriedRows, carriedColumns, totals,
                pair, chunk, token, count);
}

}  // namespace lram

extern "C" __global__ void __launch_bounds__(lram::PRODUCERS + lram::CONSUMERS, 1)
        mlstm_backward_chunk_kept_sm90(const __grid_constant__ lram::MlstmBackward p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    lram::backwardKeptSm90(p, lram::sharedBytes);
#else
    __trap();
#endif
}

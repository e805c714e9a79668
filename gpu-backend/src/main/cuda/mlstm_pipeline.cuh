// Tiles on their way from a producer's copies to warpgroups that work on them (sm_90a): a ring of stages in shared memory,
// each with a barrier for "filled" and one for "left".
#pragma once
#include "mlstm_wgmma.cuh"
#include "shared_barrier.cuh"

namespace lram {

constexpr int PRODUCERS = 128;  // one warpgroup copies
constexpr int CONSUMERS = 256;  // two work

// Registers move from who copies to who multiplies: 128 x 40 + 256 x 232 of 65536.
__device__ __forceinline__ void fewRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 40;"); }
__device__ __forceinline__ void manyRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 232;"); }

__device__ __forceinline__ void arrive(unsigned at) {
    asm volatile("{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0]; }" ::"r"(at) : "memory");
}

// Arrives once all copies that this thread has begun have landed.
__device__ __forceinline__ void arriveWithCopies(unsigned at) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(at) : "memory");
}

// Lanes of a warp that say it has left a stage: the first, for all, after a barrier of the warp. racecheck credits an arrival
// to the lane that makes it alone, so for that tool all do.
#ifdef LRAM_EVERY_LANE_ARRIVES
constexpr int ARRIVING_LANES = 32;
#else
constexpr int ARRIVING_LANES = 1;
#endif

// Where one side of a ring stands. The barriers lie one after the other: filled of each stage, then left of each stage.
// Only the first `limit` stages take part; the others join when it is raised, each once its left barrier has been arrived at
// for the first time: until then their memory is somebody else's.
template <int STAGES>
struct RingPlace {
    unsigned barriers;
    unsigned tiles;
    int bytes;  // of a stage
    int limit;
    int stage = 0;
    unsigned parities;  // of the next phase to wait for, a bit a stage

    static constexpr int BARRIER_BYTES = 16 * STAGES;

    __device__ __forceinline__ RingPlace(unsigned barriers, unsigned tiles, int bytes, int limit, bool producer)
        : barriers(barriers), tiles(tiles), bytes(bytes), limit(limit), parities(producer ? (1u << limit) - 1 : 0) {}

    // By one thread, before anyone waits.
    static __device__ __forceinline__ void init(unsigned barriers) {
#pragma unroll 1
        for (int x = 0; x < STAGES; x++) {
            initBarrier(barriers + 8 * x, PRODUCERS);
            initBarrier(barriers + 8 * (STAGES + x), CONSUMERS / 32 * ARRIVING_LANES);
        }
    }

    __device__ __forceinline__ unsigned filled() const { return barriers + 8 * stage; }
    __device__ __forceinline__ unsigned left() const { return barriers + 8 * (STAGES + stage); }
    __device__ __forceinline__ unsigned tile() const { return tiles + stage * bytes; }
    __device__ __forceinline__ unsigned parity() const { return parities >> stage & 1; }

    // Whether the next but one is not the neighbour in memory.
    __device__ __forceinline__ bool atEnd() const { return stage + 1 == limit; }

    __device__ __forceinline__ void step() {
        parities ^= 1u << stage;
        stage = stage + 1 == limit ? 0 : stage + 1;
    }

    // Producer: the next stage, once it is free.
    __device__ __forceinline__ unsigned acquire() const {
        awaitBarrier(left(), parity());
        return tile();
    }

    __device__ __forceinline__ void publish() {
        arriveWithCopies(filled());
        step();
    }

    // Consumer: the next stage, once it is filled, for warpgroup products too.
    __device__ __forceinline__ unsigned take() const {
        awaitBarrier(filled(), parity());
        publishShared();
        return tile();
    }
};

// One thread's share of a copy of `rows` rows (a multiple of 16) of one slice by the producers. `from` is row 0, column 0 of
// the slice; rows beyond validRows and columns beyond validColumns become zero.
__device__ __forceinline__ void copyTile(unsigned tile, const __nv_bfloat16* from, int stride, int rows, int validRows,
                                         int validColumns) {
    const int producer = threadIdx.x % PRODUCERS;
    const int c = producer & 7;
    const int row = producer >> 3;
    const int valid = c * 8 < validColumns ? validRows : 0;
    const __nv_bfloat16* at = from + static_cast<long long>(row) * stride + c * 8;
    const long long step = static_cast<long long>(PRODUCERS / 8) * stride;
    unsigned to = tile + swizzled(row, c);  // 16 rows on, the swizzle is the same
#pragma unroll 4
    for (int r = row; r < rows; r += PRODUCERS / 8) {
        copyAsync16(to, r < valid ? at : from, r < valid);
        at += step;
        to += PRODUCERS / 8 * ROW;
    }
}

// What the states add to the gates' gradients, from what each thread of the working warpgroups has summed: `between` of the
// state and its gradient, and the sums of its rows r and 8 below as queries and as keys. Then the gates' gradients.
__device__ __forceinline__ void finishGates(const MlstmBackward& p, GateGradients<CONSUMERS / 32>& gradients, float gateI,
                                            float gateF, float between, float* broughtRow, float* broughtColumn,
                                            float* carriedRows, float* carriedColumns, double* totals, int pair, int chunk,
                                            long long token, int count) {
    constexpr int GROUPS = CONSUMERS / 32;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int row = 16 * warp;
    const float decay = p.decays[static_cast<long long>(pair) * p.chunks + chunk];
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        between += __shfl_xor_sync(0xffffffffu, between, d);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
            broughtRow[r] += __shfl_xor_sync(0xffffffffu, broughtRow[r], d);
            broughtColumn[r] += __shfl_xor_sync(0xffffffffu, broughtColumn[r], d);
        }
        if ((lane & 3) == 0) {
            carriedRows[row + (lane >> 2) + 8 * r] = broughtRow[r];
            carriedColumns[row + (lane >> 2) + 8 * r] = broughtColumn[r];
        }
    }
    syncFirst<CONSUMERS>();
    if (lane == 0) {
        totals[GROUPS + warp] = static_cast<double>(between) * decay;
    }
    syncFirst<CONSUMERS>();
    double atLast = 0;
#pragma unroll
    for (int w = 0; w < GROUPS; w++) {
        atLast += totals[GROUPS + w];
    }
    double columns = 0;
    for (int t = lane; t < count; t += 32) {
        columns += carriedColumns[t];
    }
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        columns += __shfl_xor_sync(0xffffffffu, columns, d);
    }
    atLast += columns;
    if (p.straight != nullptr && chunk == p.chunks - 1 && threadIdx.x == 0) {
        p.straight[pair] = static_cast<float>(atLast);
    }
    gradients.add(carriedColumns, carriedRows, count);
    gradients.write(p, totals, atLast, gateI, gateF, token, count,
                    chunk == 0 && p.initialM != nullptr ? p.initialM + pair : nullptr);
}

}  // namespace lram

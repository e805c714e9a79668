// An mLSTM block of the control step: its phases as kernels of their own, and many blocks as one kernel that stays on the device.
//
// Contract: ai.lram.backend.ops.SessionOps. The phases are in mlstm_block_step.cuh. The only inline PTX: copies into shared
// memory, products of tensor cores, the barrier, and beginning before the launch ahead has ended.
//
// Tried (H200, 8 blocks of 16M, one session; docs/performance.md): 256 threads and sizes as arguments 300 us, loads in
// batches 252 us, sizes as constants and 512 threads 163 us, products on tensor cores 134 us, half the code 110 us, tokens into
// C at once 91 us, whole cache lines of C 82 us; bytes alone would take 14 us.
//
// Compile:  as elementwise.cu, with the sizes that BlockSteps.java defines. Dynamic shared memory: STEP_FLOATS.
#ifndef STEP_WIDTH  // the sizes of a small model, for a look at the machine code
#define LRAM_THREADS 512
#define STEP_WIDTH 512
#define STEP_INNER 1024
#define STEP_HEADS 4
#define STEP_ROWS 1
#define STEP_TOKENS 3
#define STEP_BLOCKS 132
#define STEP_RING 168
#define STEP_COLUMNS 32
#define STEP_BANDS 3
#define STEP_TYPE 1
#define STEP_MMA 1
#define STEP_KEPT 0
#define STEP_COPIED 0
#define STEP_SIGMOID 0
#define STEP_NORMALIZE 1
#define STEP_CENTRED 1
#define STEP_RESIDUAL 1
#define STEP_HEAD_CENTRED 1
#define STEP_HEAD_RESIDUAL 1
#endif
#include "mlstm_block_step.cuh"
#include "shared_barrier.cuh"
#include "step_fetch.cuh"

namespace lram {

struct BlockStep {
    StepShape shape;
    StepLayer layer;
};

struct BlockSteps {
    StepShape shape;
    unsigned long long* arrived;  // of the grid's barrier, counts on from launch to launch
    int layers;
    StepLayer layer[STEP_LAYERS];
};

}  // namespace lram

using namespace lram;

namespace lram {

// Until this block's copies are there.
__device__ __forceinline__ void awaitAll() {
    endCopies();
    awaitCopies<0>();
    __syncthreads();
}

}  // namespace lram

LRAM_KERNEL(block_up, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    if (!refused(p.shape)) {
        upCopies(p.layer, at, weights);
        UpAhead ahead;
        ahead.begin(p.shape, p.layer, at);
        awaitAll();
        upPhase(p.shape, p.layer, at, weights, ahead);
    }
}

namespace lram {

// A unit from its first copy on; nothing of it was read ahead.
__device__ __forceinline__ void wholeUnit(const StepShape& p, const StepLayer& w, int unit, const StepWeights& to) {
    CellUnit cell;
    __syncthreads();
    const int row = unit / HEAD_UNITS / NH;
    CellUnit::copies(w, unit, p.slots[row], p.counts[row], to);
    awaitAll();
    cell.begin(w, unit, p.slots[row], p.counts[row], CellUnit::read(w, unit, p.slots[row]));
    cell.fold(w, to);
    cell.ask(p, w, to);
    cell.answer(p, w, to);
    cell.keep<false>(p, w, to);
}

}  // namespace lram

LRAM_KERNEL(block_cell, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const StepWeights weights(memory);
    if (!faulted(p.shape.faults)) {
        for (int unit = static_cast<int>(blockIdx.x); unit < UNITS; unit += BLOCKS) {
            wholeUnit(p.shape, p.layer, unit, weights);
        }
    }
}

LRAM_KERNEL(block_down, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    if (!faulted(p.shape.faults)) {
        downWeights(p.layer, at, weights);
        DownAhead ahead;
        ahead.askGates(p.shape);
        gateCopies(p.shape, weights);
        ahead.askTiles(p.layer, at);
        awaitAll();
        downPhase(p.shape, p.layer, at, weights, ahead);
        keepHeads(p.shape, p.layer, at);
    }
}

#ifndef LRAM_EMULATED
namespace lram {

// Of all blocks of a cooperative launch. A launch leaves a multiple of BLOCKS in the counter.
struct GridBarrier {
    unsigned long long* arrived;
    unsigned long long goal;

    __device__ __forceinline__ GridBarrier(unsigned long long* counter) : arrived(counter), goal(0) {
        if (threadIdx.x == 0) {
            // This block has not arrived, so no barrier of this launch is complete.
            goal = now() / BLOCKS * BLOCKS;
        }
    }

    __device__ __forceinline__ unsigned long long now() const {
        unsigned long long n;
        asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(n) : "l"(arrived) : "memory");
        return n;
    }

    // What the block wrote so far is for whoever has awaited; the block works on with its own memory and the past's.
    __device__ __forceinline__ void arrive() {
        __syncthreads();
        if (threadIdx.x == 0) {
            goal += BLOCKS;
            asm volatile("red.release.gpu.global.add.u64 [%0], 1;" ::"l"(arrived) : "memory");
        }
    }

    __device__ __forceinline__ void await() const {
        if (threadIdx.x == 0) {
            while (now() < goal) {
            }
        }
        __syncthreads();
    }
};

// Copies of the gates that are begun by one thread and land beside what else a block does; copied by all threads they would
// keep the cell's loads waiting. All threads call each function.
struct GateCopies {
    unsigned landed;  // a barrier in shared memory

    // Before a barrier of the block, which is before any other call.
    __device__ __forceinline__ GateCopies(const StepWeights& to)
            : landed(static_cast<unsigned>(__cvta_generic_to_shared(to.stabiliser + 2))) {
#if __CUDA_ARCH__ >= 900
        if (COPIED_GATES && threadIdx.x == 0) {
            initBarrier(landed, 1);
            asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        }
#endif
    }

    // After a barrier of the grid since they were written.
    __device__ __forceinline__ void begin(const StepShape& p, const StepWeights& to) const {
#if __CUDA_ARCH__ >= 900
        if (COPIED_GATES && threadIdx.x == 0) {
            asm volatile("fence.proxy.async;" ::: "memory");  // other threads' writes, then the copy's reads
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(landed), "r"(2 * GATE_BYTES) : "memory");
            copy(to.gateTimes, p.times);
            copy(to.gatePlus, p.plus);
        }
#else
        gateCopies(p, to);
#endif
    }

    // Until the copies of the turn-th begin are there; a barrier of the block shows them to all its threads.
    __device__ __forceinline__ void await(int turn) const {
        if (!COPIED_GATES) {
            return;
        }
#if __CUDA_ARCH__ >= 900
        awaitBarrier(landed, turn & 1);
#else
        endCopies();
        awaitCopies<0>();
#endif
    }

private:
    __device__ __forceinline__ void copy(float* to, const float* from) const {
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                             static_cast<unsigned>(__cvta_generic_to_shared(to))),
                     "l"(from), "r"(GATE_BYTES), "r"(landed)
                     : "memory");
    }
};

// The same number, of which the compiler knows nothing: what follows from it is found again, not kept in registers.
__device__ __forceinline__ int again(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

__device__ __forceinline__ void copyLayers(const BlockSteps& p, float* to) {
    const int words = p.layers * static_cast<int>(sizeof(StepLayer) / sizeof(long long));
    for (int i = static_cast<int>(threadIdx.x); i < words; i += LRAM_THREADS) {
        reinterpret_cast<long long*>(to)[i] = reinterpret_cast<const long long*>(p.layer)[i];
    }
    __syncthreads();
}

__device__ __forceinline__ Place here() { return Place(again(static_cast<int>(blockIdx.x))); }

// All units have read what their heads held when the first one has its answer.
constexpr bool KEEPS = UNITS <= BLOCKS;

}  // namespace lram

// Begins before the kernel ahead has ended, and asks for the first block's weights meanwhile.
LRAM_KERNEL(block_steps, BlockSteps) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    // Addresses of the blocks, where they are found faster than among the arguments.
    const StepLayer* layers = reinterpret_cast<const StepLayer*>(memory + STEP_FLOATS - LAYERS_FLOATS);
    copyLayers(p, memory + STEP_FLOATS - LAYERS_FLOATS);
    const GateCopies gates(weights);
    UpAhead up;
    up.beginTiles(layers[0], at);
    upCopies(layers[0], at, weights);
    downWeights(layers[0], at, weights);
    awaitBefore();
    if (refused(p.shape)) {
        endCopies();
        awaitCopies<0>();
        return;
    }
    GridBarrier grid(p.arrived);
    const bool works = at.block < UNITS;
    const int row = works ? at.block / HEAD_UNITS / NH : 0;
    const int slot = p.shape.slots[row];
    const int count = p.shape.counts[row];
    int kept = works ? CellUnit::read(layers[0], at.block, slot) : 0;  // by the unit's head, before this step
    if (works) {
        CellUnit::copies(layers[0], at.block, slot, count, weights);
    }
    up.beginPast(p.shape, layers[0], at);
    awaitAll();
#pragma unroll 1
    for (int l = 0; l < p.layers; l++) {
        const bool more = l + 1 < p.layers;
        if (!more) {
            letNextBegin();
        }
        upPhase(p.shape, layers[l], here(), weights, up);
        grid.arrive();
        CellUnit cell;
        if (works) {
            cell.begin(layers[l], at.block, slot, count, kept);
            if (more) {
                kept = CellUnit::read(layers[l + 1], at.block, slot);
            }
        }
        if (more) {
            upCopies(layers[l + 1], here(), weights);
        }
        grid.await();
        DownAhead down;
        if (works) {
            cell.fold(layers[l], weights);
            cell.ask(p.shape, layers[l], weights);
        }
        gates.begin(p.shape, weights);
        if (works) {
            cell.answer(p.shape, layers[l], weights);
            if (!KEEPS) {
                cell.keep<false>(p.shape, layers[l], weights);
            }
        }
        for (int unit = at.block + BLOCKS; !KEEPS && unit < UNITS; unit += BLOCKS) {
            wholeUnit(p.shape, layers[l], unit, weights);
        }
        grid.arrive();
        down.askGates(p.shape);
        down.askTiles(layers[l], at);
        if (KEEPS && works) {
            cell.keep<true>(p.shape, layers[l], weights);
        }
        gates.await(l);
        grid.await();
        downPhase(p.shape, layers[l], here(), weights, down);
        if (!more) {  // what is held for the next block would keep its registers otherwise
            break;
        }
        grid.arrive();
        up.begin(p.shape, layers[l + 1], here());
        if (works) {
            CellUnit::copies(layers[l + 1], at.block, slot, count, weights);
        }
        downWeights(layers[l + 1], here(), weights);
        endCopies();
        if (!KEEPS) {
            keepHeads(p.shape, layers[l], here());
        }
        awaitCopies<0>();
        grid.await();
    }
    if (!KEEPS) {
        keepHeads(p.shape, layers[p.layers - 1], here());
    }
}
#endif

// An mLSTM block of the control step: its phases as kernels of their own, and many blocks as one kernel that stays on the device.
//
// Contract: ai.lram.backend.ops.SessionOps. The phases are in mlstm_block_step.cuh. The only inline PTX: copies into shared
// memory and into the second-level cache, products of tensor cores, and the barrier.
//
// Tried (H200, 8 blocks of 16M, one session; docs/performance.md): 256 threads and sizes as arguments 300 us, loads in
// batches 252 us, sizes as constants and 512 threads 163 us, products on tensor cores 134 us, half the code 110 us; bytes
// alone would take 14 us.
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
#define STEP_COLUMNS 8
#define STEP_TYPE 1
#define STEP_MMA 1
#define STEP_KEPT 0
#define STEP_COPIED 0
#define STEP_KEYS 168
#define STEP_SIGMOID 0
#define STEP_NORMALIZE 1
#define STEP_CENTRED 1
#define STEP_RESIDUAL 1
#define STEP_HEAD_CENTRED 1
#define STEP_HEAD_RESIDUAL 1
#endif
#include "mlstm_block_step.cuh"

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

LRAM_KERNEL(block_up, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    if (!refused(p.shape)) {
        upCopies(p.layer, at, weights);
        endCopies();
        UpAhead ahead;
        ahead.begin(p.shape, p.layer, at);
        upPhase(p.shape, p.layer, at, weights, ahead);
    }
}

namespace lram {

// A unit from its first copy to its answer; nothing of it was read ahead.
__device__ __forceinline__ void wholeUnit(CellUnit& cell, const StepShape& p, const StepLayer& w, int unit,
                                          const StepWeights& to) {
    __syncthreads();
    const int row = unit / CHUNKS / NH;
    const int kept = CellUnit::read(p, w, unit, p.slots[row], p.counts[row]);
    CellUnit::copies(w, unit, p.slots[row], p.counts[row], kept, to);
    endCopies();
    cell.begin(p, w, unit, p.slots[row], p.counts[row], kept);
    awaitCopies<0>();
    __syncthreads();
    cell.weigh(to);
    cell.foldRing(w, to);
    cell.finish(p, w, to);
}

}  // namespace lram

LRAM_KERNEL(block_cell, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const StepWeights weights(memory);
    if (!faulted(p.shape.faults)) {
        for (int unit = static_cast<int>(blockIdx.x); unit < UNITS; unit += BLOCKS) {
            CellUnit cell;
            wholeUnit(cell, p.shape, p.layer, unit, weights);
        }
    }
}

namespace lram {

// Heads of a block beyond its first.
__device__ __forceinline__ void otherHeads(const StepShape& p, const StepLayer& w, const Place& at, const StepWeights& to) {
    for (int pair = 2 * BLOCKS - 1 - at.block; B * NH > BLOCKS && pair < B * NH; pair += BLOCKS) {
        __syncthreads();
        KeptHead::copies(p, pair, to.work);
        endCopies();
        awaitCopies<0>();
        __syncthreads();
        KeptHead::finish(p, w, pair, to.work);
    }
}

}  // namespace lram

LRAM_KERNEL(block_down, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    if (!faulted(p.shape.faults)) {
        downWeights(p.layer, at, weights);
        KeptHead::copies(p.shape, BLOCKS - 1 - at.block, weights.work);
        downCopies(p.layer, weights);
        DownAhead ahead;
        ahead.askInputs(p.shape);
        ahead.askWeights(p.layer);
        ahead.begin(p.shape, p.layer, at, weights);
        downPhase(p.shape, p.layer, at, weights, ahead);
        __syncthreads();
        KeptHead::finish(p.shape, p.layer, BLOCKS - 1 - at.block, weights.work);
        otherHeads(p.shape, p.layer, at, weights);
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

}  // namespace lram

LRAM_KERNEL(block_steps, BlockSteps) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (refused(p.shape)) {
        return;
    }
    if (B * NH > BLOCKS) {  // BlockSteps.java launches the phases then
        __trap();
    }
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    // Addresses of the blocks, where they are found faster than among the arguments.
    const StepLayer* layers = reinterpret_cast<const StepLayer*>(memory + STEP_FLOATS - LAYERS_FLOATS);
    copyLayers(p, memory + STEP_FLOATS - LAYERS_FLOATS);
    GridBarrier grid(p.arrived);
    const bool fetches = static_cast<int>(threadIdx.x) == LRAM_THREADS - 32;  // of the last warp
    const bool works = at.block < UNITS;
    const int row = works ? at.block / CHUNKS / NH : 0;
    const int slot = p.shape.slots[row];
    const int count = p.shape.counts[row];
    upCopies(layers[0], at, weights);
    int kept = works ? CellUnit::read(p.shape, layers[0], at.block, slot, count) : 0;  // by the unit's head, before this step
    if (works) {
        CellUnit::copies(layers[0], at.block, slot, count, kept, weights);
    }
    downWeights(layers[0], at, weights);
    endCopies();
    if (fetches) {
        if (works) {
            CellUnit::fetch(p.shape, layers[0], at.block, slot);
        }
        downFetch(layers[0], at);
    }
    UpAhead up;
    up.begin(p.shape, layers[0], at);
#pragma unroll 1
    for (int l = 0; l < p.layers; l++) {
        const bool more = l + 1 < p.layers;
        if (fetches && more) {
            upFetch(layers[l + 1], at);
        }
        upPhase(p.shape, layers[l], here(), weights, up);
        awaitCopies<0>();
        grid.arrive();
        CellUnit cell;
        if (works) {
            cell.begin(p.shape, layers[l], at.block, slot, count, kept);
            cell.weigh(weights);
            if (more) {
                kept = CellUnit::read(p.shape, layers[l + 1], at.block, slot, count);
            }
        }
        if (fetches && more) {
            if (works) {
                CellUnit::fetch(p.shape, layers[l + 1], at.block, slot);
            }
            downFetch(layers[l + 1], at);
        }
        if (more) {
            upCopies(layers[l + 1], here(), weights);
        } else {
            endCopies();
        }
        if (works) {
            cell.foldRing(layers[l], weights);
        }
        grid.await();
        DownAhead down;
        down.askInputs(p.shape);
        if (works) {
            cell.finish(p.shape, layers[l], weights);
        }
        for (int unit = at.block + BLOCKS; UNITS > BLOCKS && unit < UNITS; unit += BLOCKS) {
            wholeUnit(cell, p.shape, layers[l], unit, weights);
        }
        down.askWeights(layers[l]);
        grid.arrive();
        KeptHead::copies(p.shape, BLOCKS - 1 - at.block, weights.work);
        downCopies(layers[l], weights);
        down.begin(p.shape, layers[l], at, weights);
        grid.await();
        downPhase(p.shape, layers[l], here(), weights, down);
        if (!more) {  // what is held for the next block would keep its registers otherwise
            break;
        }
        grid.arrive();
        up.begin(p.shape, layers[l + 1], here());
        if (works) {
            CellUnit::copies(layers[l + 1], at.block, slot, count, kept, weights);
        }
        downWeights(layers[l + 1], here(), weights);
        endCopies();
        KeptHead::finish(p.shape, layers[l], BLOCKS - 1 - at.block, weights.work);
        grid.await();
    }
    KeptHead::finish(p.shape, layers[p.layers - 1], BLOCKS - 1 - at.block, weights.work);
}
#endif

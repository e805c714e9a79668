// An mLSTM block of the control step: its phases as kernels of their own, and many blocks as one kernel that stays on the device.
//
// Contract: ai.lram.backend.ops.SessionOps. The phases are in mlstm_block_step.cuh. The only inline PTX: copies into shared
// memory, and the barrier.
//
// Tried (H200, 8 blocks of 16M, one session; docs/performance.md): 256 threads and sizes as arguments 300 us, loads in
// batches 252 us, sizes as constants and 512 threads 163 us; bytes alone would take 14 us.
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
#define STEP_KEPT 1
#define STEP_SIGMOID 0
#define STEP_NORMALIZE 1
#define STEP_CENTRED 1
#define STEP_RESIDUAL 1
#define STEP_HEAD_CENTRED 1
#define STEP_HEAD_RESIDUAL 1
#endif
#include "mlstm_block_step.cuh"

namespace lram {

constexpr int STEP_LAYERS = 32;  // most blocks of one launch

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
        upBegin(p.layer, at, weights);
        endCopies();
        upPhase(p.shape, p.layer, at, weights);
    }
}

LRAM_KERNEL(block_cell, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (!faulted(p.shape.faults)) {
        for (int unit = static_cast<int>(blockIdx.x); unit < UNITS; unit += BLOCKS) {
            CellUnit cell;
            __syncthreads();
            cell.begin(p.shape, p.layer, unit, memory);
            cell.finish(p.shape, p.layer, memory);
        }
    }
}

LRAM_KERNEL(block_down, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    if (!faulted(p.shape.faults)) {
        downBegin(p.layer, at, weights);
        endCopies();
        MixAhead ahead;
        ahead.begin(p.shape, warp());
        downPhase(p.shape, p.layer, at, weights, ahead);
    }
}

#ifndef LRAM_EMULATED
namespace lram {

// Of all blocks of a cooperative launch.
__device__ __forceinline__ void gridBarrier(unsigned long long* arrived) {
    __syncthreads();
    if (threadIdx.x == 0) {
        unsigned long long now;
        asm volatile("atom.add.release.gpu.global.u64 %0, [%1], 1;" : "=l"(now) : "l"(arrived) : "memory");
        const unsigned long long goal = (now / BLOCKS + 1) * BLOCKS;
        do {
            asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(now) : "l"(arrived) : "memory");
        } while (now < goal);
    }
    __syncthreads();
}

}  // namespace lram

LRAM_KERNEL(block_steps, BlockSteps) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (refused(p.shape)) {
        return;
    }
    const Place at(static_cast<int>(blockIdx.x));
    const StepWeights weights(memory);
    upBegin(p.layer[0], at, weights);
    downBegin(p.layer[0], at, weights);
#pragma unroll 1
    for (int l = 0; l < p.layers; l++) {
        const StepLayer& layer = p.layer[l];
        const bool more = l + 1 < p.layers;
        upPhase(p.shape, layer, at, weights);
        __syncthreads();
        CellUnit cell;
        if (at.block < UNITS) {
            cell.begin(p.shape, layer, at.block, weights.work);
        }
        if (more) {
            upBegin(p.layer[l + 1], at, weights);
        } else {
            endCopies();
        }
        gridBarrier(p.arrived);
        for (int unit = at.block; unit < UNITS; unit += BLOCKS) {
            if (unit != at.block) {
                __syncthreads();
                cell.begin(p.shape, layer, unit, weights.work);
            }
            cell.finish(p.shape, layer, weights.work);
        }
        MixAhead ahead;
        ahead.begin(p.shape, warp());
        gridBarrier(p.arrived);
        downPhase(p.shape, layer, at, weights, ahead);
        if (more) {
            __syncthreads();
            downBegin(p.layer[l + 1], at, weights);
            gridBarrier(p.arrived);
        }
    }
}
#endif

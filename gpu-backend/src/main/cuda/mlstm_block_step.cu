// An mLSTM block of the control step: its phases as kernels of their own, and many blocks as one kernel that stays on the device.
//
// Contract: ai.lram.backend.ops.SessionOps. The phases are in mlstm_block_step.cuh.
//
// Compile:  as elementwise.cu. Dynamic shared memory: the most of upFloats, cellFloats and downFloats.
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

__device__ __forceinline__ Place placeInGrid() {
    Place at;
    at.block = static_cast<int>(blockIdx.x);
    at.blocks = static_cast<int>(gridDim.x);
    return at;
}

}  // namespace lram

using namespace lram;

LRAM_KERNEL(block_up, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (!refused(p.shape)) {
        upPhase(p.shape, p.layer, placeInGrid(), memory);
    }
}

LRAM_KERNEL(block_cell, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (!faulted(p.shape.faults)) {
        cellPhase(p.shape, p.layer, placeInGrid(), memory);
    }
}

LRAM_KERNEL(block_down, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (!faulted(p.shape.faults)) {
        downPhase(p.shape, p.layer, placeInGrid(), memory);
    }
}

#ifndef LRAM_EMULATED
namespace lram {

// Of all blocks of a cooperative launch.
__device__ __forceinline__ void gridBarrier(unsigned long long* arrived) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        const unsigned long long blocks = gridDim.x;
        const unsigned long long goal = (atomicAdd(arrived, 1ULL) / blocks + 1) * blocks;
        while (*static_cast<volatile unsigned long long*>(arrived) < goal) {
        }
        __threadfence();
    }
    __syncthreads();
}

}  // namespace lram

LRAM_KERNEL(block_steps, BlockSteps) {
    LRAM_DYNAMIC_SHARED(float, memory);
    if (refused(p.shape)) {
        return;
    }
    const Place at = placeInGrid();
    for (int l = 0; l < p.layers; l++) {
        upPhase(p.shape, p.layer[l], at, memory);
        gridBarrier(p.arrived);
        cellPhase(p.shape, p.layer[l], at, memory);
        gridBarrier(p.arrived);
        downPhase(p.shape, p.layer[l], at, memory);
        if (l + 1 < p.layers) {
            gridBarrier(p.arrived);
        }
    }
}
#endif

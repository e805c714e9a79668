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

// Shared memory: weights, then what a phase works with.
__device__ __forceinline__ float* working(const StepShape& p, float* memory) { return memory + p.keptFloats; }

}  // namespace lram

using namespace lram;

LRAM_KERNEL(block_up, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(p.shape, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    const StepWeights weights(p.shape, at, memory);
    if (!refused(p.shape)) {
        upBegin(p.shape, p.layer, at, weights);
        endCopies();
        upPhase(p.shape, p.layer, at, weights, working(p.shape, memory));
    }
}

LRAM_KERNEL(block_cell, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(p.shape, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    if (!faulted(p.shape.faults)) {
        cellPhase(p.shape, p.layer, at, working(p.shape, memory));
    }
}

LRAM_KERNEL(block_down, BlockStep) {
    LRAM_DYNAMIC_SHARED(float, memory);
    const Place at(p.shape, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    const StepWeights weights(p.shape, at, memory);
    if (!faulted(p.shape.faults)) {
        downBegin(p.shape, p.layer, at, weights);
        endCopies();
        downPhase(p.shape, p.layer, at, weights, working(p.shape, memory));
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
    const Place at(p.shape, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x));
    const StepWeights weights(p.shape, at, memory);
    float* const work = working(p.shape, memory);
    upBegin(p.shape, p.layer[0], at, weights);
    downBegin(p.shape, p.layer[0], at, weights);
    for (int l = 0; l < p.layers; l++) {
        const bool more = l + 1 < p.layers;
        upPhase(p.shape, p.layer[l], at, weights, work);
        __syncthreads();
        if (more) {
            upBegin(p.shape, p.layer[l + 1], at, weights);
        } else {
            endCopies();
        }
        gridBarrier(p.arrived);
        cellPhase(p.shape, p.layer[l], at, work);
        gridBarrier(p.arrived);
        downPhase(p.shape, p.layer[l], at, weights, work);
        if (more) {
            __syncthreads();
            downBegin(p.shape, p.layer[l + 1], at, weights);
            gridBarrier(p.arrived);
        }
    }
}
#endif

// What kernels of the control step that follow each other do for one another: memory fetched into the second-level cache,
// and beginning before the one before has ended.
#pragma once
#include "step_arrive.cuh"

namespace lram {

#ifdef LRAM_EMULATED
__device__ __forceinline__ void fetchLine(const char*) {}

__device__ __forceinline__ void awaitBefore() {}

__device__ __forceinline__ void letNextBegin() {}
#else
// Of a kernel that may begin before the one before it has ended: waits until that one's writes, and all earlier ones, are
// there. Every block of such a kernel does, so that its own end says the same.
__device__ __forceinline__ void awaitBefore() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel may begin when all blocks are here.
__device__ __forceinline__ void letNextBegin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void fetchLine(const char* from) { asm volatile("prefetch.global.L2 [%0];" ::"l"(from)); }
#endif

// Weights that the next kernels read: this one's blocks ask for them, a line a thread, so that memory works while one kernel
// ends and the next begins.
struct Fetched {
    struct Part {
        const char* from;
        long long lines;  // of 128 bytes, may be 0
    } part[3];

    __device__ __forceinline__ void fetch() const {
        const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
        const int threads = static_cast<int>(gridDim.x * gridDim.y * gridDim.z) * LRAM_THREADS;
#pragma unroll
        for (int i = 0; i < 3; i++) {
            for (long long line = block * LRAM_THREADS + static_cast<int>(threadIdx.x); line < part[i].lines;
                 line += threads) {
                fetchLine(part[i].from + 128 * line);
            }
        }
    }
};

}  // namespace lram

// Which block of a launch ends last: the count of blocks that have ended. Numbers handed out, and numbers said to the host. In
// inline PTX.
#pragma once
#include "lram_common.cuh"

namespace lram {

// Of those that came before; what they wrote is seen by whoever comes last.
#ifdef LRAM_EMULATED
__device__ __forceinline__ unsigned arrive(unsigned* at) { return (*at)++; }
__device__ __forceinline__ unsigned takeNumber(unsigned* at) { return (*at)++; }
__device__ __forceinline__ void tellHost(unsigned* at, unsigned x) { *at = x; }
#else
__device__ __forceinline__ unsigned arrive(unsigned* at) {
    unsigned before;
    asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(at) : "memory");
    return before;
}

// The next number, in no order with anything else that is written.
__device__ __forceinline__ unsigned takeNumber(unsigned* at) {
    unsigned before;
    asm volatile("atom.add.relaxed.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(at) : "memory");
    return before;
}

// In memory of the host. Who sees it there sees what this thread has written, and what it knows to be written: by threads of its
// block before a barrier, by blocks that have arrived.
__device__ __forceinline__ void tellHost(unsigned* at, unsigned x) {
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(at), "r"(x) : "memory");
}
#endif

}  // namespace lram

// A barrier in shared memory that counts threads and copies (sm_90): its parity turns when all it waits for has arrived.
#pragma once

namespace lram {

#ifndef LRAM_EMULATED
__device__ __forceinline__ void initBarrier(unsigned at, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void awaitBarrier(unsigned at, unsigned parity) {
    asm volatile(
            "{\n"
            ".reg .pred done;\n"
            "again:\n"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
            "@!done bra again;\n"
            "}" ::"r"(at),
            "r"(parity)
            : "memory");
}
#endif

}  // namespace lram

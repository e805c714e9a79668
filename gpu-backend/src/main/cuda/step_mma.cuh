// What kernels of the control step have of the device in inline PTX: copies into shared memory that a thread does not wait for,
// and products of tiles on tensor cores.
#pragma once
#include "lram_bf16.cuh"

namespace lram {

#ifdef LRAM_EMULATED
__device__ __forceinline__ void copySixteen(void* to, const void* from) { memcpy(to, from, 16); }
__device__ __forceinline__ void copySixteenOnce(void* to, const void* from) { memcpy(to, from, 16); }
__device__ __forceinline__ void copyEight(void* to, const void* from) { memcpy(to, from, 8); }
__device__ __forceinline__ void copyFour(void* to, const void* from) { memcpy(to, from, 4); }
__device__ __forceinline__ void endCopies() {}
template <int PENDING>
__device__ __forceinline__ void awaitCopies() {}

__device__ __forceinline__ void mma(float* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    static unsigned held[LRAM_THREADS][6];
    const int me = static_cast<int>(threadIdx.x);
    const unsigned mine[6] = {a0, a1, a2, a3, b0, b1};
    memcpy(held[me], mine, sizeof mine);
    __syncwarp();
    const int first = me & ~31;
    for (int j = 0; j < 4; j++) {
        const int row = first + (lane() & ~3);
        const int column = first + 4 * (2 * (lane() & 3) + (j & 1));
        for (int k = 0; k < 8; k++) {  // pairs of the depth
            const unsigned a = held[row + (k & 3)][j / 2 + k / 4 * 2];
            const unsigned b = held[column + (k & 3)][4 + k / 4];
            c[j] += lowHalf(a) * lowHalf(b) + highHalf(a) * highHalf(b);
        }
    }
    __syncwarp();
}
#else
__device__ __forceinline__ void copySixteen(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

// Of memory that nobody reads again soon: the second-level cache gives its place away first.
__device__ __forceinline__ void copySixteenOnce(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    unsigned long long policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "l"(policy) : "memory");
}
__device__ __forceinline__ void copyEight(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(at), "l"(from) : "memory");
}
__device__ __forceinline__ void copyFour(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(at), "l"(from) : "memory");
}
__device__ __forceinline__ void endCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// All groups of copies but the last PENDING ones.
template <int PENDING>
__device__ __forceinline__ void awaitCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// c (16 x 8) += a (16 x 16) b (16 x 8).
__device__ __forceinline__ void mma(float* c, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm volatile(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
#endif

}  // namespace lram

// Warpgroup products of sm_90a on the tiles of mlstm_common.cuh: their swizzle is the 128-byte one of the hardware, so a
// tile is an operand as it stands, either way round.
#pragma once
#include "mlstm_common.cuh"

namespace lram {

// Rows of the tile are rows of A or columns of B, the depth runs along a row: 64 of it a tile. A step of 16 is 32 bytes.
__device__ __forceinline__ unsigned long long alongRows(unsigned at) {
    return static_cast<unsigned long long>((at & 0x3ffff) >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

// Rows of the tile are the depth; each tile gives 64 rows of A or columns of B, the next 64 lie `next` bytes on. A step of
// 16 is 2048 bytes.
__device__ __forceinline__ unsigned long long acrossRows(unsigned at, unsigned next) {
    return static_cast<unsigned long long>((at & 0x3ffff) >> 4) | static_cast<unsigned long long>(next >> 4) << 16 |
           64ull << 32 | 1ull << 62;
}

// Ordinary stores and cp.async become visible to the warpgroup products of others after the next barrier.
__device__ __forceinline__ void publishShared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void beginProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void endProducts() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// c += A B, 64 x 128 over a depth of 16 in bf16. A warp holds 16 rows, laid out as 16 accumulators of mma m16n8. ACROSS: the
// operand is described by acrossRows.
template <bool ACROSS_A, bool ACROSS_B>
__device__ __forceinline__ void product(float (&c)[64], unsigned long long a, unsigned long long b) {
    asm volatile(
            "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
            "%8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31, "
            "%32, %33, %34, %35, %36, %37, %38, %39, "
            "%40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, "
            "%56, %57, %58, %59, %60, %61, %62, %63}, "
            "%64, %65, 1, 1, 1, %66, %67;"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
              "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
              "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
              "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]),
              "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]),
              "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]),
              "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]),
              "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
            : "l"(a), "l"(b), "n"(ACROSS_A ? 1 : 0), "n"(ACROSS_B ? 1 : 0)
            : "memory");
}

// The same, 64 x 64: the half of the accumulators from 32 HALF on.
template <int HALF, bool ACROSS_A, bool ACROSS_B>
__device__ __forceinline__ void productHalf(float (&c)[64], unsigned long long a, unsigned long long b) {
    constexpr int FROM = 32 * HALF;
    asm volatile(
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
            "%8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31}, "
            "%32, %33, 1, 1, 1, %34, %35;"
            : "+f"(c[FROM + 0]), "+f"(c[FROM + 1]), "+f"(c[FROM + 2]), "+f"(c[FROM + 3]),
              "+f"(c[FROM + 4]), "+f"(c[FROM + 5]), "+f"(c[FROM + 6]), "+f"(c[FROM + 7]),
              "+f"(c[FROM + 8]), "+f"(c[FROM + 9]), "+f"(c[FROM + 10]), "+f"(c[FROM + 11]),
              "+f"(c[FROM + 12]), "+f"(c[FROM + 13]), "+f"(c[FROM + 14]), "+f"(c[FROM + 15]),
              "+f"(c[FROM + 16]), "+f"(c[FROM + 17]), "+f"(c[FROM + 18]), "+f"(c[FROM + 19]),
              "+f"(c[FROM + 20]), "+f"(c[FROM + 21]), "+f"(c[FROM + 22]), "+f"(c[FROM + 23]),
              "+f"(c[FROM + 24]), "+f"(c[FROM + 25]), "+f"(c[FROM + 26]), "+f"(c[FROM + 27]),
              "+f"(c[FROM + 28]), "+f"(c[FROM + 29]), "+f"(c[FROM + 30]), "+f"(c[FROM + 31])
            : "l"(a), "l"(b), "n"(ACROSS_A ? 1 : 0), "n"(ACROSS_B ? 1 : 0)
            : "memory");
}

// c += A B, 64 x 64.
template <bool ACROSS_A, bool ACROSS_B>
__device__ __forceinline__ void product64(float (&c)[32], unsigned long long a, unsigned long long b) {
    asm volatile(
            "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
            "%8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, "
            "%24, %25, %26, %27, %28, %29, %30, %31}, "
            "%32, %33, 1, 1, 1, %34, %35;"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]),
              "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]),
              "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]),
              "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
            : "l"(a), "l"(b), "n"(ACROSS_A ? 1 : 0), "n"(ACROSS_B ? 1 : 0)
            : "memory");
}

__device__ __forceinline__ void clear64(float (&c)[64]) {
#pragma unroll
    for (int x = 0; x < 64; x++) {
        c[x] = 0.f;
    }
}

}  // namespace lram

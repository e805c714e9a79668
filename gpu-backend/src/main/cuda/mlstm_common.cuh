// What the mLSTM kernels share: tiles in shared memory, tensor-core fragments of both operand types, the gate scan of a
// chunk.
#pragma once
#include <cuda_bf16.h>

namespace lram {

constexpr int ROW = 128;  // bytes of a tile row in shared memory: one slice of the head dimension
constexpr float LOG2E = 1.4426950408889634f;
#define INFINITE __int_as_float(0x7f800000)  // NVRTC has no <math.h> for INFINITY

__device__ __forceinline__ unsigned sharedAddress(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Rows are 128 bytes, so without a permutation all rows start at bank 0. XOR of the 16-byte column with the row number
// makes the 8 rows of an 8x8 ldmatrix tile fall into 8 different bank groups, at no cost in space (a padded row would
// break 128-byte alignment).
__device__ __forceinline__ unsigned swizzled(int row, int column16) {
    return static_cast<unsigned>(row * ROW + ((column16 ^ (row & 7)) << 4));
}

__device__ __forceinline__ void copyAsync16(unsigned to, const void* from, bool valid) {
    int bytes = valid ? 16 : 0;  // 0: the 16 bytes are zero-filled and nothing is read
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
__device__ __forceinline__ void awaitCopies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ void ldmatrix4(unsigned (&r)[4], unsigned at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void ldmatrix4Transposed(unsigned (&r)[4], unsigned at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ float2 loadShared2(unsigned at) {
    float2 x;
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(at) : "memory");
    return x;
}

__device__ __forceinline__ float loadShared(unsigned at) {
    float x;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(at) : "memory");
    return x;
}

__device__ __forceinline__ float4 loadShared4(unsigned at) {
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(at)
                 : "memory");
    return x;
}

// Fragments in the terms of PTX: g = lane / 4, t = lane % 4. Accumulator of m16n8: c0, c1 = row g, columns 2t, 2t+1;
// c2, c3 = row g+8.
template <typename T>
struct Unit;

template <>
struct Unit<__nv_bfloat16> {
    static constexpr int WIDTH = ROW / 2;  // head-dimension columns of a slice
    static constexpr int VECTOR = 8;       // elements in 16 bytes
    static constexpr int STEP = 16;        // depth of one mma
    struct A {
        unsigned r[4];
    };
    struct B {
        unsigned r[2][2];  // two n8 tiles
    };

    static __device__ __forceinline__ unsigned pack(float low, float high) {
        __nv_bfloat162 x = __floats2bfloat162_rn(low, high);
        return *reinterpret_cast<unsigned*>(&x);
    }

    static __device__ __forceinline__ float low(unsigned x) { return __uint_as_float(x << 16); }

    static __device__ __forceinline__ float high(unsigned x) { return __uint_as_float(x & 0xffff0000u); }

    // Rows of the tile are the rows of A, or the columns n of B: 16 of them, STEP deep.
    static __device__ __forceinline__ A loadA(unsigned tile, int row, int step, int lane) {
        A a;
        ldmatrix4(a.r, tile + swizzled(row + (lane & 15), 2 * step + (lane >> 4)));
        return a;
    }

    static __device__ __forceinline__ B loadBRowsN(unsigned tile, int row, int step, int lane) {
        unsigned r[4];
        ldmatrix4(r, tile + swizzled(row + (lane & 7) + ((lane >> 4) << 3), 2 * step + ((lane >> 3) & 1)));
        return {{{r[0], r[1]}, {r[2], r[3]}}};
    }

    // Rows of the tile are the depth k; 16 columns from 16 pair.
    static __device__ __forceinline__ B loadBRowsK(unsigned tile, int row, int pair, int lane) {
        unsigned r[4];
        ldmatrix4Transposed(r, tile + swizzled(row + (lane & 15), 2 * pair + (lane >> 4)));
        return {{{r[0], r[1]}, {r[2], r[3]}}};
    }

    // Rows of the tile are the depth: A[m][k] = tile[row + k][16 pair + m].
    static __device__ __forceinline__ A loadATransposed(unsigned tile, int row, int pair, int lane) {
        A a;
        ldmatrix4Transposed(a.r, tile + swizzled(row + (lane & 7) + ((lane >> 4) << 3), 2 * pair + ((lane >> 3) & 1)));
        return a;
    }

    // A = diag(w) applied to the depth of a tile whose rows are the depth: A[m][k] = tile[row + k][column + m] w[row +
    // k]. The sums over k with weights z are added to low8 and high8.
    static __device__ __forceinline__ A loadAWeighted(unsigned tile, int row, int pair, const float* w, const float* z,
                                                      int lane, float& low8, float& high8) {
        unsigned r[4];
        ldmatrix4Transposed(r, tile + swizzled(row + (lane & 7) + ((lane >> 4) << 3), 2 * pair + ((lane >> 3) & 1)));
        const float* x = w + row + 2 * (lane & 3);
        const float* y = z + row + 2 * (lane & 3);
        float v[8];
        float s[8];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            v[2 * j] = low(r[j]) * x[8 * (j >> 1)];
            v[2 * j + 1] = high(r[j]) * x[8 * (j >> 1) + 1];
            s[2 * j] = low(r[j]) * y[8 * (j >> 1)];
            s[2 * j + 1] = high(r[j]) * y[8 * (j >> 1) + 1];
        }
        low8 += (s[0] + s[1]) + (s[4] + s[5]);
        high8 += (s[2] + s[3]) + (s[6] + s[7]);
        return {{pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7])}};
    }

    // Columns 8 tile + 2t and the next of a row, where an accumulator of a lane has its two neighbours.
    static __device__ __forceinline__ float2 loadPair(unsigned from, int row, int tile, int lane) {
        unsigned x;
        asm volatile("ld.shared.b32 %0, [%1];"
                     : "=r"(x)
                     : "r"(from + swizzled(row, tile) + 4 * (lane & 3))
                     : "memory");
        return make_float2(low(x), high(x));
    }

    // Sum of products of two runs of 16 bytes.
    static __device__ __forceinline__ float dot16(const float4& a, const float4& b) {
        const float p[4] = {a.x, a.y, a.z, a.w};
        const float q[4] = {b.x, b.y, b.z, b.w};
        float sum = 0.f;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const unsigned u = __float_as_uint(p[j]);
            const unsigned w = __float_as_uint(q[j]);
            sum += low(u) * low(w) + high(u) * high(w);
        }
        return sum;
    }

    // Two adjacent accumulators of a product are one A fragment of the next product as they stand.
    static __device__ __forceinline__ void fromAccumulators(const float (&c)[8], A (&a)[16 / STEP]) {
        a[0] = {{pack(c[0], c[1]), pack(c[2], c[3]), pack(c[4], c[5]), pack(c[6], c[7])}};
    }

    static __device__ __forceinline__ void dot(const A& a, const float* n, int lane, float& low8, float& high8) {
        const float* x = n + 2 * (lane & 3);
        low8 += low(a.r[0]) * x[0] + high(a.r[0]) * x[1] + low(a.r[2]) * x[8] + high(a.r[2]) * x[9];
        high8 += low(a.r[1]) * x[0] + high(a.r[1]) * x[1] + low(a.r[3]) * x[8] + high(a.r[3]) * x[9];
    }

    static __device__ __forceinline__ void mma(float* c, const A& a, const B& b, int n) {
        asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                "{%0,%1,%2,%3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[n][0]), "r"(b.r[n][1]));
    }

    static __device__ __forceinline__ void storeShared2(unsigned row, int tile, int lane, int r, float x, float y) {
        unsigned at = row + swizzled(r, tile) + 4 * (lane & 3);
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(pack(x, y)) : "memory");
    }

    static __device__ __forceinline__ void storeGlobal2(__nv_bfloat16* to, float x, float y) {
        *reinterpret_cast<unsigned*>(to) = pack(x, y);
    }

    static __device__ __forceinline__ void storeVector(__nv_bfloat16* to, const float (&x)[VECTOR]) {
        *reinterpret_cast<uint4*>(to) =
                make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
    }

    static __device__ __forceinline__ void unpackVector(const float4& from, float (&x)[VECTOR]) {
        const float p[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            x[2 * j] = low(__float_as_uint(p[j]));
            x[2 * j + 1] = high(__float_as_uint(p[j]));
        }
    }
};

// fp32 on tensor cores: each operand is split into two TF32 parts and the three larger products are summed (3xTF32),
// which keeps about 21 bits. The depth index of a k8 step is permuted (t <-> 2t, t+4 <-> 2t+1) alike in A and B: a
// fragment is then two neighbours in memory, and an accumulator turns into an A fragment without moving between lanes.
template <>
struct Unit<float> {
    static constexpr int WIDTH = ROW / 4;
    static constexpr int VECTOR = 4;
    static constexpr int STEP = 8;
    struct A {
        float r[4];
    };
    struct B {
        float r[2][2];
    };

    static __device__ __forceinline__ unsigned cell(int row, int column) {
        return swizzled(row, column >> 2) + 4 * (column & 3);
    }

    static __device__ __forceinline__ A loadA(unsigned tile, int row, int step, int lane) {
        int column = 8 * step + 2 * (lane & 3);
        float2 x = loadShared2(tile + cell(row + (lane >> 2), column));
        float2 y = loadShared2(tile + cell(row + (lane >> 2) + 8, column));
        return {{x.x, y.x, x.y, y.y}};
    }

    static __device__ __forceinline__ B loadBRowsN(unsigned tile, int row, int step, int lane) {
        int column = 8 * step + 2 * (lane & 3);
        float2 x = loadShared2(tile + cell(row + (lane >> 2), column));
        float2 y = loadShared2(tile + cell(row + (lane >> 2) + 8, column));
        return {{{x.x, x.y}, {y.x, y.y}}};
    }

    static __device__ __forceinline__ B loadBRowsK(unsigned tile, int row, int pair, int lane) {
        int column = 16 * pair + (lane >> 2);
        row += 2 * (lane & 3);
        return {{{loadShared(tile + cell(row, column)), loadShared(tile + cell(row + 1, column))},
                 {loadShared(tile + cell(row, column + 8)), loadShared(tile + cell(row + 1, column + 8))}}};
    }

    static __device__ __forceinline__ A loadATransposed(unsigned tile, int row, int pair, int lane) {
        int column = 16 * pair + (lane >> 2);
        row += 2 * (lane & 3);
        return {{loadShared(tile + cell(row, column)), loadShared(tile + cell(row, column + 8)),
                 loadShared(tile + cell(row + 1, column)), loadShared(tile + cell(row + 1, column + 8))}};
    }

    static __device__ __forceinline__ A loadAWeighted(unsigned tile, int row, int pair, const float* w, const float* z,
                                                      int lane, float& low8, float& high8) {
        int column = 16 * pair + (lane >> 2);
        row += 2 * (lane & 3);
        const float x[4] = {loadShared(tile + cell(row, column)), loadShared(tile + cell(row, column + 8)),
                            loadShared(tile + cell(row + 1, column)), loadShared(tile + cell(row + 1, column + 8))};
        low8 += x[0] * z[row] + x[2] * z[row + 1];
        high8 += x[1] * z[row] + x[3] * z[row + 1];
        return {{x[0] * w[row], x[1] * w[row], x[2] * w[row + 1], x[3] * w[row + 1]}};
    }

    // Columns 8 tile + 2t and the next of a row, where an accumulator of a lane has its two neighbours.
    static __device__ __forceinline__ float2 loadPair(unsigned from, int row, int tile, int lane) {
        return loadShared2(from + cell(row, 8 * tile + 2 * (lane & 3)));
    }

    static __device__ __forceinline__ float dot16(const float4& a, const float4& b) {
        return (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w);
    }

    static __device__ __forceinline__ void fromAccumulators(const float (&c)[8], A (&a)[16 / STEP]) {
        a[0] = {{c[0], c[2], c[1], c[3]}};
        a[1] = {{c[4], c[6], c[5], c[7]}};
    }

    static __device__ __forceinline__ void dot(const A& a, const float* n, int lane, float& low8, float& high8) {
        const float* x = n + 2 * (lane & 3);
        low8 += a.r[0] * x[0] + a.r[2] * x[1];
        high8 += a.r[1] * x[0] + a.r[3] * x[1];
    }

    static __device__ __forceinline__ unsigned tf32(float x) {
        unsigned r;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
        return r;
    }

    static __device__ __forceinline__ void mmaTf32(float* c, const unsigned (&a)[4], const unsigned (&b)[2]) {
        asm volatile(
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                "{%0,%1,%2,%3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }

    static __device__ __forceinline__ void mma(float* c, const A& a, const B& b, int n) {
        unsigned ah[4];
        unsigned al[4];
        unsigned bh[2];
        unsigned bl[2];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            ah[j] = tf32(a.r[j]);
            al[j] = tf32(a.r[j] - __uint_as_float(ah[j]));
        }
#pragma unroll
        for (int j = 0; j < 2; j++) {
            bh[j] = tf32(b.r[n][j]);
            bl[j] = tf32(b.r[n][j] - __uint_as_float(bh[j]));
        }
        // Tensor cores truncate when they add to the accumulator; over many steps that bias shows, so the sum is taken
        // by the adders.
        float d[4] = {0.f, 0.f, 0.f, 0.f};
        mmaTf32(d, al, bh);
        mmaTf32(d, ah, bl);
        mmaTf32(d, ah, bh);
        c[0] += d[0];
        c[1] += d[1];
        c[2] += d[2];
        c[3] += d[3];
    }

    static __device__ __forceinline__ void storeShared2(unsigned row, int tile, int lane, int r, float x, float y) {
        unsigned at = row + cell(r, 8 * tile + 2 * (lane & 3));
        asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(at), "f"(x), "f"(y) : "memory");
    }

    static __device__ __forceinline__ void storeGlobal2(float* to, float x, float y) {
        *reinterpret_cast<float2*>(to) = make_float2(x, y);
    }

    static __device__ __forceinline__ void storeVector(float* to, const float (&x)[VECTOR]) {
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    }

    static __device__ __forceinline__ void unpackVector(const float4& from, float (&x)[VECTOR]) {
        x[0] = from.x;
        x[1] = from.y;
        x[2] = from.z;
        x[3] = from.w;
    }
};

// Copies `rows` rows of one slice; rows beyond `validRows` and columns beyond `columns` become zero, because a product
// with a zero weight must not meet a NaN left in shared memory.
template <typename T, int THREADS>
__device__ __forceinline__ void loadTile(unsigned tile, const T* from, int stride, int rows, int validRows, int column,
                                         int columns) {
    constexpr int VECTOR = Unit<T>::VECTOR;
    const int c = threadIdx.x & 7;
    const bool inside = column + c * VECTOR < columns;
    int row = threadIdx.x >> 3;
    const T* at = from + static_cast<long long>(row) * stride + column + c * VECTOR;
    const long long step = static_cast<long long>(THREADS / 8) * stride;
#pragma unroll 4
    for (; row < rows; row += THREADS / 8, at += step) {
        bool valid = inside && row < validRows;
        copyAsync16(tile + swizzled(row, c), valid ? at : from, valid);
    }
}

// Which chunk of which head a block works on. Heads are neighbours in memory, 128 bytes of each to a token and slice, so
// they are neighbours in the grid: what runs together reads whole pages.
struct Place {
    int pair;  // batch heads + head
    int chunk;

    __device__ __forceinline__ Place(int index, int heads, int chunks) {
        const int rest = index / heads;
        pair = rest / chunks * heads + index % heads;
        chunk = rest % chunks;
    }
};

__device__ __forceinline__ float logSigmoid(float x) { return fminf(x, 0.f) - log1pf(expf(-fabsf(x))); }

// Gate quantities of one chunk. With b_t = sum of logsigmoid(f) up to t, u_s = i_s - b_s and M_t = max(m0, max_{s <= t}
// u_s), the stabiliser is m_t = b_t + M_t and the weight of token s for t is exp(b_t + u_s - m_t) = exp(u_s - M_t): b_t
// cancels, and the maximum is a prefix maximum of gates alone, known before any product. So there is no online
// rescaling as in attention. The sigmoid gate (m = 0) is the same with M_t = -b_t. Sums are fp64 (b reaches -20000 at
// gates of -80, where fp32 resolves 0.002) and leave as float pairs.
struct Gates {
    float* uHigh;
    float* uLow;
    float* mHigh;
    float* mLow;
    float* floor;  // exp(-m_t), the least denominator
    float* carry;  // exp(m0 - M_t), the weight of the state before the chunk
};

// A barrier of the first THREADS threads of a block; those beyond, where there are any, go their own way.
template <int THREADS>
__device__ __forceinline__ void syncFirst() {
    asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");
}

// Run by the first THREADS threads of a block, PER tokens a thread. `totals` holds 2 WARPS + 2 doubles; its last two receive b and M of the
// chunk's last token. The caller's next barrier publishes the results.
template <int THREADS, int KEYS>
struct GateScan {
    static constexpr int PER = (KEYS + THREADS - 1) / THREADS;
    static constexpr int WARPS = THREADS / 32;
    static constexpr int TOTALS = 2 * WARPS + 2;
    float i[PER];
    float f[PER];

    __device__ __forceinline__ void load(const float* gateI, const float* gateF, int stride, int count) {
#pragma unroll
        for (int r = 0; r < PER; r++) {
            int t = threadIdx.x * PER + r;
            i[r] = t < count ? gateI[static_cast<long long>(t) * stride] : 0.f;
            f[r] = t < count ? gateF[static_cast<long long>(t) * stride] : 0.f;
        }
    }

    __device__ __forceinline__ void scan(const Gates& out, double* totals, int count, float m0, bool sigmoid) const {
        const int lane = threadIdx.x & 31;
        const int warp = threadIdx.x >> 5;
        double b[PER];
        double u[PER];
        double sum = 0;
#pragma unroll
        for (int r = 0; r < PER; r++) {
            sum += threadIdx.x * PER + r < count ? logSigmoid(f[r]) : 0.f;
            b[r] = sum;
            u[r] = sigmoid ? logSigmoid(i[r]) : i[r];
        }
        double inclusive = sum;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            double x = __shfl_up_sync(0xffffffffu, inclusive, d);
            if (lane >= d) {
                inclusive += x;
            }
        }
        if (lane == 31) {
            totals[warp] = inclusive;
        }
        double before = inclusive - sum;
        syncFirst<THREADS>();
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            before += w < warp ? totals[w] : 0;
        }
        double top = -INFINITE;
#pragma unroll
        for (int r = 0; r < PER; r++) {
            b[r] += before;
            u[r] -= b[r];
            if (threadIdx.x * PER + r < count) {
                top = fmax(top, u[r]);
            }
        }
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            double x = __shfl_up_sync(0xffffffffu, top, d);
            if (lane >= d) {
                top = fmax(top, x);
            }
        }
        if (lane == 31) {
            totals[WARPS + warp] = top;
        }
        syncFirst<THREADS>();
        double running = __shfl_up_sync(0xffffffffu, top, 1);
        running = lane == 0 ? m0 : fmax(running, static_cast<double>(m0));
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            running = w < warp ? fmax(running, totals[WARPS + w]) : running;
        }
#pragma unroll
        for (int r = 0; r < PER; r++) {
            int t = threadIdx.x * PER + r;
            bool valid = t < count;
            if (valid) {
                running = fmax(running, u[r]);
            }
            double m = sigmoid ? -b[r] : running;
            float uHigh = static_cast<float>(u[r]);
            float mHigh = static_cast<float>(m);
            if (t < KEYS) {
                out.uHigh[t] = valid ? uHigh : -INFINITE;
                out.uLow[t] = valid ? static_cast<float>(u[r] - uHigh) : 0.f;
                out.mHigh[t] = valid ? mHigh : INFINITE;
                out.mLow[t] = valid ? static_cast<float>(m - mHigh) : 0.f;
                out.floor[t] = sigmoid ? 1.f : expf(static_cast<float>(-(b[r] + m)));
                out.carry[t] = expf(static_cast<float>(m0 - m));
            }
            if (t == count - 1) {
                totals[2 * WARPS] = b[r];
                totals[2 * WARPS + 1] = m;
            }
        }
    }
};

// One multiplication and one instruction: weights below 2^-126 become zero.
__device__ __forceinline__ float fastExp(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * LOG2E));
    return y;
}

// A warp's 16 rows of one slice, from accumulators to global memory: through 16 shared rows, because a lane holds 4
// bytes of a row in bf16 and memory wants whole 128-byte lines. `to` is row 0, column 0 of the slice.
template <typename T>
__device__ __forceinline__ void storeRows(unsigned strip, const float (&c)[Unit<T>::WIDTH / 8][4], float low,
                                          float high, T* to, int stride, int rows, int columns, int lane) {
    using U = Unit<T>;
#pragma unroll
    for (int x = 0; x < U::WIDTH / 8; x++) {
        U::storeShared2(strip, x, lane, lane >> 2, c[x][0] * low, c[x][1] * low);
        U::storeShared2(strip, x, lane, (lane >> 2) + 8, c[x][2] * high, c[x][3] * high);
    }
    __syncwarp();
#pragma unroll
    for (int x = 0; x < 4; x++) {
        int r = 4 * x + (lane >> 3);
        int column = (lane & 7) * U::VECTOR;
        float4 value = loadShared4(strip + swizzled(r, lane & 7));
        if (r < rows && column < columns) {
            *reinterpret_cast<float4*>(to + static_cast<long long>(r) * stride + column) = value;
        }
    }
    __syncwarp();
}

extern __shared__ __align__(1024) unsigned char sharedBytes[];

}  // namespace lram

// Products with weight matrices where cuBLASLt does not serve: few rows, and small blocks on the diagonal.
//
// Contract: ai.lram.backend.ops.MatmulOps. few_rows is bound by reading the weights once (for up to 4 rows; again from
// the caches for each further 4): 4 N K bytes. Each lane adds K / 32 products before the lanes are added, which keeps
// long sums exact.
//
// Compile:  as elementwise.cu.
#include "lram_fp16.cuh"

namespace lram {

struct FewRows {
    const float* x;
    const float* w;
    const float* bias;  // may be null
    float* y;
    int rows;
    int inputs;
    int outputs;
};

struct Pack {
    const float* w;
    void* data;
    float* scale;  // int8 and fp16 alone
    int rows;
    int inputs;
    int type;  // 1 bf16, 2 int8, 3 bf16 stored in fp16
};

// x as the sum of three bf16 numbers, which hold all of its 24 bits.
struct Split {
    const float* x;
    Bf16* parts;  // (3, n)
    long long n;  // a multiple of 4
};

// The products of the three, added.
struct AddParts {
    const float* sums;  // (3, n)
    const float* bias;  // may be null
    float* y;
    long long n;
    int outputs;  // a multiple of 4
};

struct PackedRows {
    const float* x;
    const void* w;
    const float* scale;  // int8 alone
    const float* bias;   // may be null
    float* y;
    int rows;
    int inputs;
    int outputs;
    int type;
};

struct Headwise {
    const float* x;  // or dy
    const float* w;
    const float* bias;  // may be null
    float* y;           // or dx
    long long n;
    int groups;
    int dimOut;
    int dimIn;
    int accumulate;
};

struct HeadwiseSums {
    const float* dy;
    const float* x;
    double* partials;
    int rows;
    int groups;
    int dimOut;
    int dimIn;
};

struct HeadwiseTerm {
    HeadwiseSums p;
    __device__ double operator()(long long r, long long j) const {
        long long block = j / p.dimIn;  // group and output
        long long g = block / p.dimOut;
        return static_cast<double>(p.dy[r * p.groups * p.dimOut + block]) *
               p.x[(r * p.groups + g) * p.dimIn + (j - block * p.dimIn)];
    }
};

// The original block's gates, from the concatenation of q, k and v; one warp a row and head.
struct Gates {
    const float* q;
    const float* k;
    const float* v;
    const float* wi;
    const float* bi;
    const float* wf;
    const float* bf;
    float* i;
    float* f;
    long long units;
    int width;
    int heads;
};

struct GatesInput {
    const float* wi;
    const float* wf;
    const float* di;
    const float* df;
    float* dq;
    float* dk;
    float* dv;
    long long n;
    int width;
    int heads;
};

struct GatesSums {
    const float* q;
    const float* k;
    const float* v;
    const float* di;
    const float* df;
    double* partials;  // columns: for i and f, each head: 3 width weights and the bias
    int rows;
    int width;
    int heads;
};

struct FinishGates {
    const double* partials;
    float* dwi;
    float* dbi;
    float* dwf;
    float* dbf;
    int shares;
    int width;
    int heads;
};

struct GatesTerm {
    GatesSums p;
    __device__ double operator()(long long r, long long column) const {
        long long each = 3LL * p.width + 1;
        int unit = static_cast<int>(column / each);
        int c = static_cast<int>(column - unit * each);
        float d = (unit < p.heads ? p.di : p.df)[r * p.heads + unit % p.heads];
        if (c == 3 * p.width) {
            return d;
        }
        const float* x = c < p.width ? p.q : (c < 2 * p.width ? p.k : p.v);
        return static_cast<double>(d) * x[r * p.width + c % p.width];
    }
};

__device__ __forceinline__ float element(const void* w, int type, long long i) {
    if (type == 1) {
        return widened(static_cast<const Bf16*>(w)[i]);
    }
    return static_cast<const signed char*>(w)[i];
}

}  // namespace lram

using namespace lram;

// One warp a row; rows lie in order.
LRAM_KERNEL(pack, Pack) {
    const int row = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    if (row >= p.rows) {
        return;
    }
    const long long from = static_cast<long long>(row) * p.inputs;
    float scale = 0.f;
    if (p.type == 2) {
        for (int j = lane(); j < p.inputs; j += 32) {
            scale = fmaxf(scale, fabsf(p.w[from + j]));
        }
        scale = warpMax(scale) / 127.f;
        if (lane() == 0) {
            p.scale[row] = scale;
        }
    }
    if (p.type == 3) {
        for (int j = lane(); j < p.inputs; j += 32) {
            scale = fmaxf(scale, fabsf(widened(Bf16{narrow(p.w[from + j])})));
        }
        const PowerOfRow power(warpMax(scale));
        scale = power.by;
        if (lane() == 0) {
            p.scale[row] = power.back;
        }
    }
    for (int j = lane(); j < p.inputs; j += 32) {
        const float x = p.w[from + j];
        if (p.type == 1) {
            static_cast<unsigned short*>(p.data)[from + j] = narrow(x);
        } else if (p.type == 3) {
            const float stored = widened(Bf16{narrow(x)}) * scale;
            static_cast<unsigned short*>(p.data)[from + j] = static_cast<unsigned short>(fp16Pair(stored, 0.f));
        } else {
            static_cast<signed char*>(p.data)[from + j] =
                    static_cast<signed char>(scale == 0.f ? 0.f : fminf(fmaxf(rintf(x / scale), -127.f), 127.f));
        }
    }
}

LRAM_KERNEL(split_bf16, Split) {
    const bool quads = inQuads(p.x);
    for (long long i = 4 * gridStart(); i < p.n; i += 4 * gridStride()) {
        float x[4];
        if (quads) {
            unpack(quadAt(p.x + i), x);
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[j] = p.x[i + j];
            }
        }
        uint2 parts[3];
        inBf16(x, parts);
#pragma unroll
        for (int part = 0; part < 3; part++) {
            store(p.parts + part * p.n + i, parts[part]);
        }
    }
}

LRAM_KERNEL(add_parts, AddParts) {
    const bool quads = inQuads(p.y);
    for (long long i = 4 * gridStart(); i < p.n; i += 4 * gridStride()) {
        float a[4];
        float b[4];
        float c[4];
        unpack(quadAt(p.sums + i), a);
        unpack(quadAt(p.sums + p.n + i), b);
        unpack(quadAt(p.sums + 2 * p.n + i), c);
        const int column = static_cast<int>(i % p.outputs);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            a[j] += b[j] + c[j];
            if (p.bias != nullptr) {
                a[j] += p.bias[column + j];
            }
        }
        if (quads) {
            store(p.y + i, packFloats(a));
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                p.y[i + j] = a[j];
            }
        }
    }
}

// few_rows over packed weights.
LRAM_KERNEL(packed_rows, PackedRows) {
    const int column = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    if (column >= p.outputs) {
        return;
    }
    const long long from = static_cast<long long>(column) * p.inputs;
    const float bias = p.bias == nullptr ? 0.f : p.bias[column];
    const float scale = p.scale == nullptr ? 1.f : p.scale[column];
    for (int row = 0; row < p.rows; row += 4) {
        const int more = min(4, p.rows - row);
        const float* x = p.x + static_cast<long long>(row) * p.inputs;
        float sum[4] = {0.f, 0.f, 0.f, 0.f};
        for (int j = lane(); j < p.inputs; j += 32) {
            float a = element(p.w, p.type, from + j);
#pragma unroll
            for (int r = 0; r < 4; r++) {
                if (r < more) {
                    sum[r] = fmaf(a, x[static_cast<long long>(r) * p.inputs + j], sum[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 4; r++) {
            sum[r] = warpSum(sum[r]);
            if (r < more && lane() == 0) {
                p.y[static_cast<long long>(row + r) * p.outputs + column] = sum[r] * scale + bias;
            }
        }
    }
}

// One warp a column of y, 4 rows at a time. Grid (columns / 8).
LRAM_KERNEL(few_rows, FewRows) {
    const int column = static_cast<int>(blockIdx.x) * LRAM_WARPS + warp();
    if (column >= p.outputs) {
        return;
    }
    const float* w = p.w + static_cast<long long>(column) * p.inputs;
    const float bias = p.bias == nullptr ? 0.f : p.bias[column];
    for (int row = 0; row < p.rows; row += 4) {
        const int more = min(4, p.rows - row);
        const float* x = p.x + static_cast<long long>(row) * p.inputs;
        float sum[4] = {0.f, 0.f, 0.f, 0.f};
        for (int j = lane(); j < p.inputs; j += 32) {
            float a = w[j];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                if (r < more) {
                    sum[r] = fmaf(a, x[static_cast<long long>(r) * p.inputs + j], sum[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 4; r++) {
            sum[r] = warpSum(sum[r]);
            if (r < more && lane() == 0) {
                p.y[static_cast<long long>(row + r) * p.outputs + column] = sum[r] + bias;
            }
        }
    }
}

LRAM_KERNEL(headwise, Headwise) {
    const int width = p.groups * p.dimOut;
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        long long row = i / width;
        int column = static_cast<int>(i - row * width);
        int g = column / p.dimOut;
        const float* x = p.x + (row * p.groups + g) * p.dimIn;
        const float* w = p.w + static_cast<long long>(column) * p.dimIn;
        float sum = p.bias == nullptr ? 0.f : p.bias[column];
        for (int d = 0; d < p.dimIn; d++) {
            sum = fmaf(w[d], x[d], sum);
        }
        p.y[i] = sum;
    }
}

LRAM_KERNEL(headwise_input, Headwise) {
    const int width = p.groups * p.dimIn;
    for (long long i = gridStart(); i < p.n; i += gridStride()) {
        long long row = i / width;
        int column = static_cast<int>(i - row * width);
        int g = column / p.dimIn;
        int d = column - g * p.dimIn;
        const float* dy = p.x + (row * p.groups + g) * p.dimOut;
        const float* w = p.w + static_cast<long long>(g) * p.dimOut * p.dimIn + d;
        float sum = 0.f;
        for (int o = 0; o < p.dimOut; o++) {
            sum = fmaf(w[static_cast<long long>(o) * p.dimIn], dy[o], sum);
        }
        p.y[i] = p.accumulate ? p.y[i] + sum : sum;
    }
}

LRAM_KERNEL(headwise_sums, HeadwiseSums) {
    partialColumns(HeadwiseTerm{p}, p.rows, static_cast<long long>(p.groups) * p.dimOut * p.dimIn, p.partials);
}

LRAM_KERNEL(gates, Gates) {
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        long long row = unit / p.heads;
        int head = static_cast<int>(unit - row * p.heads);
        const float* wi = p.wi + static_cast<long long>(head) * 3 * p.width;
        const float* wf = p.wf + static_cast<long long>(head) * 3 * p.width;
        float i = 0.f;
        float f = 0.f;
        const bool quads = p.width % 4 == 0 && inQuads(p.q) && inQuads(p.k) && inQuads(p.v) && inQuads(p.wi) && inQuads(p.wf);
        for (int part = 0; part < 3; part++) {
            const float* x = (part == 0 ? p.q : (part == 1 ? p.k : p.v)) + row * p.width;
            const float* ofI = wi + part * p.width;
            const float* ofF = wf + part * p.width;
            if (quads) {
#pragma unroll 4
                for (int c = 4 * lane(); c < p.width; c += 128) {
                    const float4 y = quadAt(x + c);
                    const float4 a = quadAt(ofI + c);
                    const float4 b = quadAt(ofF + c);
                    i = fmaf(a.w, y.w, fmaf(a.z, y.z, fmaf(a.y, y.y, fmaf(a.x, y.x, i))));
                    f = fmaf(b.w, y.w, fmaf(b.z, y.z, fmaf(b.y, y.y, fmaf(b.x, y.x, f))));
                }
            } else {
                for (int c = lane(); c < p.width; c += 32) {
                    i = fmaf(ofI[c], x[c], i);
                    f = fmaf(ofF[c], x[c], f);
                }
            }
        }
        i = warpSum(i);
        f = warpSum(f);
        if (lane() == 0) {
            p.i[unit] = i + p.bi[head];
            p.f[unit] = f + p.bf[head];
        }
    }
}

LRAM_KERNEL(gates_input, GatesInput) {
    for (long long e = gridStart(); e < p.n; e += gridStride()) {
        long long row = e / p.width;
        int c = static_cast<int>(e - row * p.width);
        float q = 0.f;
        float k = 0.f;
        float v = 0.f;
        for (int h = 0; h < p.heads; h++) {
            float di = p.di[row * p.heads + h];
            float df = p.df[row * p.heads + h];
            const float* wi = p.wi + static_cast<long long>(h) * 3 * p.width + c;
            const float* wf = p.wf + static_cast<long long>(h) * 3 * p.width + c;
            q += fmaf(di, wi[0], df * wf[0]);
            k += fmaf(di, wi[p.width], df * wf[p.width]);
            v += fmaf(di, wi[2 * p.width], df * wf[2 * p.width]);
        }
        p.dq[e] += q;
        p.dk[e] += k;
        p.dv[e] += v;
    }
}

LRAM_KERNEL(gates_sums, GatesSums) {
    partialColumns(GatesTerm{p}, p.rows, 2LL * p.heads * (3LL * p.width + 1), p.partials);
}

LRAM_KERNEL(finish_gates, FinishGates) {
    const long long each = 3LL * p.width + 1;
    const long long columns = 2 * p.heads * each;
    for (long long j = gridStart(); j < columns; j += gridStride()) {
        int unit = static_cast<int>(j / each);
        int c = static_cast<int>(j - unit * each);
        int head = unit % p.heads;
        bool input = unit < p.heads;
        float* to = c < 3 * p.width ? (input ? p.dwi : p.dwf) + static_cast<long long>(head) * 3 * p.width + c
                                    : (input ? p.dbi : p.dbf) + head;
        *to = static_cast<float>(*to + finishColumn(p.partials, p.shares, columns, j));
    }
}

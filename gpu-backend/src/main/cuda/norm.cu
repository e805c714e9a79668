// Layer, RMS and multi-head normalisation, one warp a row and group.
//
// Contract: ai.lram.backend.ops.NormOps. A group's elements are read three times forward (mean, deviation, result); the
// second and third reading come from the first-level cache for groups of up to a few thousand elements.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

struct NormForward {
    const float* x;
    const float* weight;
    const float* bias;  // may be null
    float* y;           // may be x
    float* mean;        // may be null
    float* rstd;        // may be null
    long long units;    // rows times groups
    int width;
    int groups;
    float eps;
    int centred;
    int residual;
};

struct NormBackward {
    const float* dy;
    const float* x;
    const float* weight;
    const float* mean;  // null when not centred
    const float* rstd;
    float* dx;
    long long units;
    int width;
    int groups;
    int residual;
};

struct NormSums {
    const float* dy;
    const float* x;
    const float* mean;
    const float* rstd;
    double* partials;
    int rows;
    int width;
    int groups;
};

struct WeightTerm {
    NormSums p;
    __device__ double operator()(long long r, long long j) const {
        long long unit = r * p.groups + j / (p.width / p.groups);
        float centre = p.mean == nullptr ? 0.f : p.mean[unit];
        long long i = r * p.width + j;
        return static_cast<double>(p.dy[i]) * ((p.x[i] - centre) * p.rstd[unit]);
    }
};

struct BiasTerm {
    NormSums p;
    __device__ double operator()(long long r, long long j) const { return p.dy[r * p.width + j]; }
};

}  // namespace lram

using namespace lram;

LRAM_KERNEL(norm_forward, NormForward) {
    const int n = p.width / p.groups;
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const float* x = p.x + unit * n;
        float* y = p.y + unit * n;
        const int column = static_cast<int>(unit % p.groups) * n;
        const bool quads = n % 4 == 0 && inQuads(p.x) && inQuads(p.y) && inQuads(p.weight);
        float mean = 0.f;
        if (p.centred) {
            float sum = 0.f;
            if (quads) {
#pragma unroll 4
                for (int j = 4 * lane(); j < n; j += 128) {
                    const float4 v = quadAt(x + j);
                    sum += (v.x + v.y) + (v.z + v.w);
                }
            } else {
                for (int j = lane(); j < n; j += 32) {
                    sum += x[j];
                }
            }
            mean = warpSum(sum) / static_cast<float>(n);
        }
        float squares = 0.f;
        if (quads) {
#pragma unroll 4
            for (int j = 4 * lane(); j < n; j += 128) {
                const float4 v = quadAt(x + j);
                const float d[4] = {v.x - mean, v.y - mean, v.z - mean, v.w - mean};
                squares = fmaf(d[3], d[3], fmaf(d[2], d[2], fmaf(d[1], d[1], fmaf(d[0], d[0], squares))));
            }
        } else {
            for (int j = lane(); j < n; j += 32) {
                float d = x[j] - mean;
                squares = fmaf(d, d, squares);
            }
        }
        float rstd = 1.f / sqrtf(warpSum(squares) / static_cast<float>(n) + p.eps);
        const float one = p.residual ? 1.f : 0.f;
        if (quads && p.bias == nullptr) {
#pragma unroll 4
            for (int j = 4 * lane(); j < n; j += 128) {
                float4 v = quadAt(x + j);
                const float4 w = quadAt(p.weight + column + j);
                v.x = (v.x - mean) * rstd * (one + w.x);
                v.y = (v.y - mean) * rstd * (one + w.y);
                v.z = (v.z - mean) * rstd * (one + w.z);
                v.w = (v.w - mean) * rstd * (one + w.w);
                *reinterpret_cast<float4*>(y + j) = v;
            }
        } else {
            for (int j = lane(); j < n; j += 32) {
                float hat = (x[j] - mean) * rstd;
                y[j] = fmaf(hat, one + p.weight[column + j], p.bias == nullptr ? 0.f : p.bias[column + j]);
            }
        }
        if (lane() == 0) {
            if (p.mean != nullptr) {
                p.mean[unit] = mean;
            }
            if (p.rstd != nullptr) {
                p.rstd[unit] = rstd;
            }
        }
    }
}

LRAM_KERNEL(norm_backward, NormBackward) {
    const int n = p.width / p.groups;
    for (long long unit = static_cast<long long>(blockIdx.x) * LRAM_WARPS + warp(); unit < p.units;
         unit += static_cast<long long>(gridDim.x) * LRAM_WARPS) {
        const float* x = p.x + unit * n;
        const float* dy = p.dy + unit * n;
        float* dx = p.dx + unit * n;
        const int column = static_cast<int>(unit % p.groups) * n;
        const float mean = p.mean == nullptr ? 0.f : p.mean[unit];
        const float rstd = p.rstd[unit];
        float sum = 0.f;
        float dot = 0.f;
        for (int j = lane(); j < n; j += 32) {
            float w = p.weight[column + j];
            float g = dy[j] * (p.residual ? 1.f + w : w);
            sum += g;
            dot = fmaf(g, (x[j] - mean) * rstd, dot);
        }
        sum = p.mean == nullptr ? 0.f : warpSum(sum) / static_cast<float>(n);
        dot = warpSum(dot) / static_cast<float>(n);
        for (int j = lane(); j < n; j += 32) {
            float w = p.weight[column + j];
            float g = dy[j] * (p.residual ? 1.f + w : w);
            dx[j] = rstd * (g - sum - (x[j] - mean) * rstd * dot);
        }
    }
}

LRAM_KERNEL(norm_weight_sums, NormSums) { partialColumns(WeightTerm{p}, p.rows, p.width, p.partials); }

LRAM_KERNEL(norm_bias_sums, NormSums) { partialColumns(BiasTerm{p}, p.rows, p.width, p.partials); }

// Masked cross-entropy with hard targets and with densities over bins, and its gradient; one block a row.
//
// Contract: ai.lram.backend.ops.LossOps. Logits are read three times (maximum, sum, gradient), twice of these from the
// first-level cache for up to a few thousand classes.
//
// Compile:  as elementwise.cu.
#include "lram_common.cuh"

namespace lram {

struct MaskSum {
    const float* mask;
    double* weight;
    int rows;
};

struct CrossEntropy {
    const float* logits;
    const int* target;
    const float* mask;
    float* dlogits;  // may be null
    const double* weight;
    double* losses;  // a row's loss, then all rows' hits
    int rows;
    int width;
    float gradScale;
    Faults faults;
};

struct SoftBins {
    const float* logits;
    const float* target;
    const float* mask;
    float* dlogits;
    const double* weight;
    double* losses;
    int rows;
    int width;
    float gradScale;
    int firstBin;
    int bins;
    float sigma;
};

struct FinishLoss {
    const double* weight;
    const double* losses;
    float* stats;
    int rows;
};

struct Row {
    float top;
    int best;
    double sum;
};

// The first maximum and the sum of exp(x - maximum), known to every thread.
__device__ __forceinline__ Row readRow(const float* x, int width) {
    __shared__ float tops[LRAM_WARPS];
    __shared__ int bests[LRAM_WARPS];
    float top = -__int_as_float(0x7f800000);
    int best = 0x7fffffff;
    for (int j = static_cast<int>(threadIdx.x); j < width; j += LRAM_THREADS) {
        if (x[j] > top) {
            top = x[j];
            best = j;
        }
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        float otherTop = __shfl_xor_sync(0xffffffffu, top, d);
        int otherBest = __shfl_xor_sync(0xffffffffu, best, d);
        if (otherTop > top || (otherTop == top && otherBest < best)) {
            top = otherTop;
            best = otherBest;
        }
    }
    __syncthreads();
    if (lane() == 0) {
        tops[warp()] = top;
        bests[warp()] = best;
    }
    __syncthreads();
    top = tops[0];
    best = bests[0];
#pragma unroll
    for (int w = 1; w < LRAM_WARPS; w++) {
        if (tops[w] > top || (tops[w] == top && bests[w] < best)) {
            top = tops[w];
            best = bests[w];
        }
    }
    double sum = 0;
    for (int j = static_cast<int>(threadIdx.x); j < width; j += LRAM_THREADS) {
        sum += expf(x[j] - top);
    }
    return {top, best, blockSum(sum)};
}

__device__ __forceinline__ void clearRow(float* dx, int width) {
    if (dx != nullptr) {
        for (int j = static_cast<int>(threadIdx.x); j < width; j += LRAM_THREADS) {
            dx[j] = 0.f;
        }
    }
}

// Mass of a standard normal density between two points, from the side on which it does not cancel.
__device__ __forceinline__ double massBetween(double from, double to) {
    const double root = 0.70710678118654752440;
    return from > 0 ? 0.5 * (erfc(root * from) - erfc(root * to)) : 0.5 * (erfc(-root * to) - erfc(-root * from));
}

}  // namespace lram

using namespace lram;

// One block.
LRAM_KERNEL(mask_sum, MaskSum) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < p.rows; i += LRAM_THREADS) {
        sum += p.mask[i];
    }
    sum = blockSum(sum);
    if (threadIdx.x == 0) {
        *p.weight = sum;
    }
}

LRAM_KERNEL(cross_entropy, CrossEntropy) {
    const int row = static_cast<int>(blockIdx.x);
    const float* x = p.logits + static_cast<long long>(row) * p.width;
    float* dx = p.dlogits == nullptr ? nullptr : p.dlogits + static_cast<long long>(row) * p.width;
    const float mask = p.mask[row];
    const double weight = *p.weight;
    if (threadIdx.x == 0) {
        p.losses[row] = 0;
        p.losses[p.rows + row] = 0;
    }
    if (mask == 0.f || weight == 0) {
        clearRow(dx, p.width);
        return;
    }
    const int target = p.target[row];
    if (target < 0 || target >= p.width) {
        if (threadIdx.x == 0) {
            reportFault(p.faults, FAULT_TARGET, row, target, p.width - 1);
        }
        return;
    }
    const Row r = readRow(x, p.width);
    if (threadIdx.x == 0) {
        p.losses[row] = mask * (log(r.sum) - (static_cast<double>(x[target]) - r.top));
        p.losses[p.rows + row] = r.best == target ? 1 : 0;
    }
    if (dx != nullptr) {
        const float scale = static_cast<float>(p.gradScale * static_cast<double>(mask) / weight);
        const float inverse = static_cast<float>(1 / r.sum);
        for (int j = static_cast<int>(threadIdx.x); j < p.width; j += LRAM_THREADS) {
            dx[j] = scale * (expf(x[j] - r.top) * inverse - (j == target ? 1.f : 0.f));
        }
    }
}

LRAM_KERNEL(soft_bins, SoftBins) {
    const int row = static_cast<int>(blockIdx.x);
    const float* x = p.logits + static_cast<long long>(row) * p.width;
    float* dx = p.dlogits == nullptr ? nullptr : p.dlogits + static_cast<long long>(row) * p.width;
    const float mask = p.mask[row];
    const double weight = *p.weight;
    if (threadIdx.x == 0) {
        p.losses[row] = 0;
        p.losses[p.rows + row] = 0;
    }
    if (mask == 0.f || weight == 0) {
        clearRow(dx, p.width);
        return;
    }
    const double sigma = p.sigma;
    const double end = static_cast<double>(p.firstBin) + p.bins;
    const double wanted = p.target[row];
    double at = wanted;
    at = at < p.firstBin - 8 * sigma ? p.firstBin : at;
    at = at > end + 8 * sigma ? end : at;
    double total = 0;
    for (int j = static_cast<int>(threadIdx.x); j < p.bins; j += LRAM_THREADS) {
        total += massBetween((p.firstBin + j - at) / sigma, (p.firstBin + j + 1 - at) / sigma);
    }
    total = blockSum(total);
    const Row r = readRow(x, p.width);
    const double logSum = log(r.sum);
    const float scale = static_cast<float>(p.gradScale * static_cast<double>(mask) / weight);
    const float inverse = static_cast<float>(1 / r.sum);
    double loss = 0;
    for (int j = static_cast<int>(threadIdx.x); j < p.width; j += LRAM_THREADS) {
        double q = 0;
        if (j >= p.firstBin && j < p.firstBin + p.bins) {
            q = massBetween((j - at) / sigma, (j + 1 - at) / sigma) / total;
        }
        if (q != 0) {
            loss -= q * (static_cast<double>(x[j]) - r.top - logSum);
        }
        if (dx != nullptr) {
            dx[j] = scale * (expf(x[j] - r.top) * inverse - static_cast<float>(q));
        }
    }
    // A row of NaN or infinity with no mass there must show all the same.
    loss = blockSum(loss) + (r.sum - r.sum);
    if (threadIdx.x == 0) {
        double bin = fmin(fmax(floor(wanted), static_cast<double>(p.firstBin)), end - 1);
        p.losses[row] = mask * loss;
        p.losses[p.rows + row] = r.best == static_cast<int>(bin) ? 1 : 0;
    }
}

// One block.
LRAM_KERNEL(finish_loss, FinishLoss) {
    double loss = 0;
    double hits = 0;
    for (int i = static_cast<int>(threadIdx.x); i < p.rows; i += LRAM_THREADS) {
        loss += p.losses[i];
        hits += p.losses[p.rows + i];
    }
    loss = blockSum(loss);
    hits = blockSum(hits);
    if (threadIdx.x == 0) {
        double weight = *p.weight;
        p.stats[0] = weight == 0 ? 0.f : static_cast<float>(loss / weight);
        p.stats[1] = static_cast<float>(weight);
        p.stats[2] = weight == 0 ? 0.f : static_cast<float>(hits / weight);
    }
}

// The argument of the mLSTM backward kernels.
#pragma once
#include "mlstm_common.cuh"

namespace lram {

struct MlstmBackward {
    const void* q;
    const void* k;
    const void* v;
    const float* gateI;
    const float* gateF;
    const float* normaliser;  // (B NH, S) from the forward pass
    const void* dh;
    void* dq;
    void* dk;
    void* dv;
    float* di;
    float* df;
    int tokens;  // of a window: at most 16 GROUPS
    int heads;
    int dimQk;
    int dimHv;
    float scale;
    float eps;
    int sigmoid;
    int normalize;
    int exact;

    // Everything below is for chunks with states.
    int chunk;  // tokens per chunk as in the forward pass, at most 16 GROUPS
    int chunks;
    const void* h;
    const void* states;  // as the forward pass left them, before each chunk
    const float* statesN;
    const float* statesM;
    const void* dStates;  // (B NH, chunks, DHQK, DHHV) in the operand type: gradient of the state after each chunk
    const float* dStatesN;  // (B NH, chunks, DHQK)
    const float* decays;    // (B NH, chunks): weight of the state before a chunk in the state after it
    float* rows;      // 4 x (B NH, S): 1 / denominator, gradient of q.n; both times the weight of the carried state
    float* initialM;  // (B NH): gradient of the initial state's stabiliser; null when not wanted
    float* straight;  // (B NH): receives last state . its gradient, as it stands in df; may be null
};

__device__ __forceinline__ float sigmoidOf(float x) { return 1.f / (1.f + expf(-x)); }

// From scores s = q.k and dp = dh.v of a warp's 16 rows from `row` against `groups` x 16 keys, to P / den and W in the
// panels, and the sums of G by rows and, for this warp, by columns.
template <typename T, int GROUPS, bool STATE>
__device__ __forceinline__ void formGradients(const MlstmBackward& p, float (&s)[GROUPS][8], float (&dp)[GROUPS][8],
                                              int groups, const Gates& gates, int row, int count, long long ownRow,
                                              long long allRows, float* columnSums, float* rowSums, unsigned panelP,
                                              unsigned panelW) {
    using U = Unit<T>;
    constexpr int ROWS = 16 * GROUPS;
    constexpr int TILE = ROWS * ROW;
    constexpr int PER_PANEL_SLICE = U::WIDTH / 16;  // groups of 16 columns in a slice of a panel
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int own[2] = {row + (lane >> 2), row + (lane >> 2) + 8};
    float top[2];
    float topRest[2];
    float inverse[2];
    float sign[2];
    float dot[2] = {0.f, 0.f};
#pragma unroll
    for (int r = 0; r < 2; r++) {
        bool valid = own[r] < count;
        top[r] = gates.mHigh[own[r]];
        topRest[r] = gates.mLow[own[r]];
        if (STATE) {
            inverse[r] = valid ? p.rows[ownRow + own[r]] : 1.f;
            continue;
        }
        float n = valid && p.normalize ? p.normaliser[ownRow + own[r]] : 0.f;
        float least = gates.floor[own[r]];
        inverse[r] = valid && p.normalize ? 1.f / (fmaxf(fabsf(n), least) + p.eps) : 1.f;
        sign[r] = p.exact && p.normalize && fabsf(n) > least ? copysignf(1.f, n) : 0.f;
    }
    auto weight = [&](int j, int c, int r) {
        int column = 16 * j + 8 * (c >> 1) + 2 * (lane & 3) + (c & 1);
        float w = fastExp((gates.uHigh[column] - top[r]) + (gates.uLow[column] - topRest[r])) * p.scale;
        return column <= own[r] ? w : 0.f;
    };
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        if (!STATE && j < groups) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    int at = 4 * (c >> 1) + (c & 1) + 2 * r;
                    dot[r] += s[j][at] * weight(j, c, r) * dp[j][at];
                }
            }
        }
    }
    float dn[2];
    float sum[2] = {0.f, 0.f};
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
            dot[r] += __shfl_xor_sync(0xffffffffu, dot[r], d);
        }
        dn[r] = -sign[r] * dot[r] * inverse[r] * inverse[r];
        if (STATE) {
            dn[r] = own[r] < count ? p.rows[allRows + ownRow + own[r]] : 0.f;
        }
    }
#pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        if (j < groups) {
#pragma unroll
            for (int c = 0; c < 4; c++) {
                float column = 0.f;
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    int at = 4 * (c >> 1) + (c & 1) + 2 * r;
                    float w = weight(j, c, r);
                    float gradient = dp[j][at] * inverse[r] + dn[r];
                    float score = s[j][at] * w;
                    float g = score * gradient;
                    sum[r] += g;
                    column += g;
                    s[j][at] = score * inverse[r];
                    dp[j][at] = gradient * w;
                }
#pragma unroll
                for (int d = 4; d < 32; d *= 2) {
                    column += __shfl_xor_sync(0xffffffffu, column, d);
                }
                if (lane < 4) {
                    columnSums[warp * ROWS + 16 * j + 8 * (c >> 1) + 2 * lane + (c & 1)] = column;
                }
            }
            unsigned slice = j / PER_PANEL_SLICE * TILE;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int tile = 2 * (j % PER_PANEL_SLICE) + half;
#pragma unroll
                for (int r = 0; r < 2; r++) {
                    int at = 4 * half + 2 * r;
                    U::storeShared2(panelP + slice, tile, lane, own[r], s[j][at], s[j][at + 1]);
                    U::storeShared2(panelW + slice, tile, lane, own[r], dp[j][at], dp[j][at + 1]);
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
        for (int d = 1; d < 4; d *= 2) {
            sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], d);
        }
        if ((lane & 3) == 0) {
            rowSums[own[r]] = sum[r];
        }
    }
}

// What a thread holds for its own token: the gradient of the log weight it writes with, and the change of b.
template <int GROUPS>
struct GateGradients {
    double column = 0;
    double change = 0;

    __device__ __forceinline__ void take(const float* columnSums, const float* rowSums, int count, int active) {
        if (static_cast<int>(threadIdx.x) < count) {
            for (int w = threadIdx.x / 16; w < active; w++) {
                column += columnSums[w * 16 * GROUPS + threadIdx.x];
            }
            change = rowSums[threadIdx.x] - column;
        }
    }

    __device__ __forceinline__ void add(const float* columns, const float* rows, int count) {
        if (static_cast<int>(threadIdx.x) < count) {
            column += columns[threadIdx.x];
            change += static_cast<double>(rows[threadIdx.x]) - columns[threadIdx.x];
        }
    }

    // df from the suffix sums of the change, atLast added to that of the last token. initialM, where given, receives the
    // gradient of the initial state's stabiliser: scaling that state is scaling the first forget gate.
    __device__ __forceinline__ void write(const MlstmBackward& p, double* totals, double atLast, float gateI, float gateF,
                                          long long token, int count, float* initialM) const {
        const int t = threadIdx.x;
        const int lane = t & 31;
        const int warp = t >> 5;
        double inclusive = change;
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
        syncFirst<32 * GROUPS>();
        double rest = change - inclusive + atLast;
#pragma unroll
        for (int w = 0; w < GROUPS; w++) {
            rest += w >= warp ? totals[w] : 0;
        }
        if (t < count) {
            const long long at = token + static_cast<long long>(t) * p.heads;
            p.di[at] = static_cast<float>(p.sigmoid ? column * sigmoidOf(-gateI) : column);
            p.df[at] = static_cast<float>(rest * sigmoidOf(-gateF));
        }
        if (initialM != nullptr && t == 0) {
            *initialM = p.exact && !p.sigmoid ? static_cast<float>(rest) : 0.f;  // the sigmoid gate has none
        }
    }
};

}  // namespace lram

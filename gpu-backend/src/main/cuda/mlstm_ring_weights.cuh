// The weights of a head's ring and state in the step of many sessions.
#pragma once
#include "step_common.cuh"

namespace lram {

template <bool SIGMOID>
__device__ __forceinline__ double logInputOf(float gate) {
    return SIGMOID ? logSigmoidFloat(gate) : gate;
}

// A head in a step: `held` tokens in the ring, then `n` new ones, all in shared memory.
struct RingTokens {
    int held;
    int n;
    bool folds;  // the ring goes into the matrix state first
    bool hasC;
    double m0;             // the matrix state's stabiliser
    const double* sums;    // running sums of log forget gates
    const double* inputs;  // log input gates
    const float* dots;     // of each new token's query with the keys, then with the normaliser: (n, pitch)
    int pitch;
};

// The stabiliser and what a fold is made of; every lane of a warp gets it.
struct RingTop {
    double total;  // log forget gates of the ring
    double m;      // of state and ring; where the ring is folded, the state's afterwards
    float keep;    // weight of the state in itself, where the ring is folded

    // Weight of a token of the ring in the state, where the ring is folded.
    __device__ __forceinline__ float write(const RingTokens& r, int s) const {
        return expOf(total - m - r.sums[s] + r.inputs[s]);
    }
};

template <bool SIGMOID>
__device__ __forceinline__ RingTop ringTop(const RingTokens& r) {
    RingTop top;
    top.total = r.held == 0 ? 0 : r.sums[r.held - 1];
    top.m = 0;
    top.keep = 0;
    if (!SIGMOID) {
        double m = top.total + r.m0;
        for (int s = lane(); s < r.held; s += 32) {
            m = fmax(m, top.total - r.sums[s] + r.inputs[s]);
        }
        top.m = warpTop(m);
    }
    if (r.folds) {
        top.m = static_cast<float>(top.m);
        top.keep = r.hasC ? expOf(top.total + r.m0 - top.m) : 0;
    }
    return top;
}

struct AnswerOfToken {
    float carried;  // weight of the matrix state, after the fold where there is one
    float divisor;
};

// One warp: the weights of token t's answer go to put(s, weight), zero where s has no part in it.
template <bool SIGMOID, bool NORMALIZE, typename Put>
__device__ __forceinline__ AnswerOfToken weighToken(const RingTokens& r, const RingTop& top, int t, float scale, float eps,
                                                    const Put& put) {
    const int all = r.held + r.n;
    double next = top.m;
    double last = top.total;
#pragma unroll 1
    for (int j = 0; j <= t; j++) {
        const double stayed = r.sums[r.held + j] - last + next;
        next = SIGMOID ? 0 : fmax(stayed, r.inputs[r.held + j]);
        last = r.sums[r.held + j];
    }
    const double base = last - next;
    float carry = 0.f;
    if (r.folds) {
        carry = expOf(base - (top.total - top.m));
    } else if (r.hasC) {
        carry = expOf(base + r.m0);
    }
    double den = 0;
#pragma unroll 1
    for (int s = lane(); s < all; s += 32) {
        const float dot = r.dots[t * r.pitch + s];
        float weight = 0.f;
        if (s < r.held && r.folds) {
            den += static_cast<double>(carry) * top.write(r, s) * dot;
        } else if (s <= r.held + t) {
            const float share = expOf(base - r.sums[s] + r.inputs[s]);
            den += static_cast<double>(share) * dot;
            weight = share * scale * dot;
        }
        put(s, weight);
    }
    den = warpSum(den);
    if (r.hasC) {
        den += static_cast<double>(carry) * (r.folds ? top.keep : 1.f) * r.dots[t * r.pitch + all];
    }
    const float magnitude = fabsf(static_cast<float>(scale * den));
    const float least = SIGMOID ? 1.f : expOf(-next);
    AnswerOfToken answer;
    answer.carried = scale * carry;
    answer.divisor = NORMALIZE ? (magnitude < least ? least : magnitude) + eps : 1.f;
    return answer;
}

}  // namespace lram

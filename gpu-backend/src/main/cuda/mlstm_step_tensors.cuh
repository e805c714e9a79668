// The tensors of ai.lram.backend.ops.SessionOps.mlstmStep, as the arguments of its kernels begin; MlstmStepCall.java puts them. And
// when a head folds first.
#pragma once
#include "lram_common.cuh"

namespace lram {

struct MlstmStepTensors {
    const int* slots;
    const int* counts;
    void* matC;  // fp32 or bf16
    float* vecN;
    float* scaM;
    void* ringK;  // as wide as matC
    void* ringV;  // likewise
    float* ringI;
    float* ringF;
    int* ringLength;
    int* folded;
    const float* q;
    const float* k;
    const float* v;
    const float* i;
    const float* f;
    float* h;
};

// Ring length at which a head folds first, as FoldSchedule.firstOf: `index` is layer * NH + head, and a session's phase.
__device__ __forceinline__ int firstFold(int first, int stagger, int index) {
    const int phase = (index % stagger + stagger) % stagger;
    return max(3, first - 3 * phase);
}

}  // namespace lram

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
    float* ringK;
    float* ringV;
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

// As ai.lram.backend.ops.FoldSchedule.firstOf.
__device__ __forceinline__ int firstFold(int first, int stagger, int index, int slot) {
    const unsigned golden = 0x9e3779b1u * static_cast<unsigned>(slot);
    const int ofSlot = static_cast<int>(static_cast<unsigned long long>(golden) * static_cast<unsigned>(stagger) >> 32);
    const int phase = ((index + ofSlot) % stagger + stagger) % stagger;
    return max(3, first - 3 * phase);
}

}  // namespace lram

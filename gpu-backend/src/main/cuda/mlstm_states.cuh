// The argument of the kernels that turn what chunks add into states.
#pragma once
#include "mlstm_common.cuh"

namespace lram {

// States in a row of slots, one a chunk. Forward, slot c holds the state before chunk c; reverse, the gradient of the state
// after it.
struct MlstmStates {
    const void* rows;       // (B, S, NH, DHQK): k, or q in reverse
    const void* columns;    // (B, S, NH, DHHV): v, or dh in reverse
    const float* weights;   // (B NH, S), of rows times columns
    const float* weightsN;  // (B NH, S), of rows alone
    const float* factors;   // (B NH, chunks), of what a chunk adds; null for 1
    const float* decays;    // (B NH, chunks)
    void* states;           // (B NH, chunks, DHQK, DHHV) in the operand type
    float* statesN;         // (B NH, chunks, DHQK)
    const float* firstC;    // fills the first slot: (B NH, DHQK, DHHV), (B NH, DHQK); null for zero
    const float* firstN;
    float* lastC;  // what the last slot turns into; null when not wanted
    float* lastN;
    int tokens;
    int heads;
    int dimQk;
    int dimHv;
    int chunk;
    int chunks;
    int pairs;
    int reverse;
};

}  // namespace lram

package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/**
 * States of many sessions of one mLSTM layer under deferred folding: the matrix state as of the last fold, and a ring of the tokens
 * since. P = slots, R = ring capacity in tokens. All F32 unless said.
 *
 * <p>Which of a session's tokens are in the ring, and whether a head has folded, is no part of an answer: engines may fold sooner than their
 * {@link FoldSchedule} asks. What two states stand for is the same if C, n and m are with the rings folded. Every kernel takes a state that any
 * other one left.
 *
 * @param matC (P, NH, DHQK, DHHV) as of the last fold; F32, or BF16 where an engine has that: each fold rounds once, to the nearest, ties to
 *     even, from sums in fp32, and answers are those of the rounded matrix. A fold that changes an element by less than half a unit in its last
 *     place, 2^-8 of it at most, leaves it as it is
 * @param vecN (P, NH, DHQK)
 * @param scaM (P, NH)
 * @param ringK (P, NH, R, DHQK), unscaled keys; of matC's type: BF16 rounds a key once, to the nearest, ties to even, as it goes into the ring.
 *     The answers of the step that brings a token are those of its key and value as they come, also its later tokens'; those of later steps,
 *     and what is folded into C and n, are of the rounded ones
 * @param ringV (P, NH, R, DHHV), likewise
 * @param ringI (P, NH, R), input gate pre-activations
 * @param ringF (P, NH, R), log forget gates logsigmoid(f)
 * @param ringLength I32 (P, NH), tokens in the ring; none where a step's tokens are folded at once; heads differ where folds are staggered
 * @param folded I32 (P, NH), 0 while matC is still zero and need not be read
 */
public record MlstmSlots(
        Tensor matC,
        Tensor vecN,
        Tensor scaM,
        Tensor ringK,
        Tensor ringV,
        Tensor ringI,
        Tensor ringF,
        Tensor ringLength,
        Tensor folded) {
    /** @throws ShapeMismatchException unless the ring's keys and values are kept in matC's type */
    public void requireRingAsMatrix(String kernel) {
        requireAsMatrix(kernel, "ringK", ringK);
        requireAsMatrix(kernel, "ringV", ringV);
    }

    private void requireAsMatrix(String kernel, String name, Tensor ring) {
        if (ring != null && ring.dtype() != matC.dtype()) {
            throw new ShapeMismatchException(
                    kernel + ": matC is " + matC.dtype() + ", " + name + " is " + ring.dtype(),
                    "a ring's keys and values are kept in the type of the matrix state that they are folded into",
                    "allocate matC, ringK and ringV all in F32, or all in BF16 on an engine that steps with it");
        }
    }
}

package ai.lram.agent.xlstm;

import ai.lram.agent.autodiff.Tape;
import ai.lram.agent.autodiff.Value;

/** One residual block of the stack. */
public sealed interface Block permits MlstmBlock, SlstmBlock {
    /**
     * Records the block over x (B, S, D).
     *
     * @param carried state before the first token, replaced by the state after the last one at the end of the replay; null starts fresh
     */
    Value forward(Tape tape, Value x, CarriedState.Layer carried);
}

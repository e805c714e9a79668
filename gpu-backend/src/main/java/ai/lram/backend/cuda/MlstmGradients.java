package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;
import ai.lram.backend.ops.MlstmState;

/** The checked arguments of a backward pass of the mLSTM beside those of its forward pass. States may be null. */
record MlstmGradients(
        Tensor dh, MlstmState dLast, Tensor dq, Tensor dk, Tensor dv, Tensor di, Tensor df, MlstmState dInitial) {}

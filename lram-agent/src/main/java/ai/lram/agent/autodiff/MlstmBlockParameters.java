package ai.lram.agent.autodiff;

import ai.lram.backend.ops.MlstmSpec;
import ai.lram.backend.ops.NormSpec;

/**
 * Parameters and settings of an mLSTM block of the original architecture, I = inner width, D = width of the residual stream.
 *
 * @param norm (D)
 * @param up (2I, D): u, then z
 * @param conv (I, 1, 4)
 * @param convBias (I)
 * @param q (I/4, 4, 4), as k and v
 * @param inputGate (NH, 3I)
 * @param inputGateBias (NH)
 * @param forgetGate (NH, 3I)
 * @param forgetGateBias (NH)
 * @param outNorm (I)
 * @param skip (I)
 * @param down (D, I)
 * @param blockNorm of the residual stream
 * @param headNorm of the cell's output
 * @param spec of the cell
 * @param heads of the cell
 */
public record MlstmBlockParameters(
        Parameter norm,
        Parameter up,
        Parameter conv,
        Parameter convBias,
        Parameter q,
        Parameter k,
        Parameter v,
        Parameter inputGate,
        Parameter inputGateBias,
        Parameter forgetGate,
        Parameter forgetGateBias,
        Parameter outNorm,
        Parameter skip,
        Parameter down,
        NormSpec blockNorm,
        NormSpec headNorm,
        MlstmSpec spec,
        int heads) {}

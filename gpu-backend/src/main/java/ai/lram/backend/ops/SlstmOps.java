package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/**
 * The sLSTM scan. H = NH * DH. Inputs of the four gates xi, xf, xz, xo (B, S, H); recurrent matrices r (NH, DH_in, 4, DH_out) and bias
 * (4, H) in gate order i, f, z, o; state (4, B, H) in order y, c, n, m, all zero when fresh. Per unit and token:
 *
 * <pre>
 * raw_g = x_g + y_{t-1} R_g + b_g
 * lfm = m + logsigmoid(f)     m' = i where n == 0, else max(i, lfm)
 * I = min(exp(i - m'), 1)     F = min(exp(lfm - m'), 1)
 * c' = F c + I tanh(z)        n' = F n + I        y' = sigmoid(o) c' / n'
 * </pre>
 *
 * The n == 0 test is per element. y does not depend on the choice of m, so m carries no gradient inside a sequence; the gradients are
 * exact. The initial m scales the initial c and n, so its gradient is dc c + dn n of the initial state.
 *
 * @see "Beck et al. 2024, xLSTM, arXiv:2405.04517, Sec. 2.2; Poeppel et al. 2024, FlashRNN, arXiv:2412.07752"
 */
public interface SlstmOps {
    /** Floats the forward pass leaves for the backward pass. */
    long savedFloats(int batch, int tokens, int heads, int headDim);

    long scratchFloats(int batch, int tokens, int heads, int headDim);

    /**
     * @param initial (4, B, H) or null for the fresh state
     * @param y (B, S, H)
     * @param last (4, B, H), may be null
     * @param saved may be null where no backward pass follows
     */
    void forward(
            Stream s,
            int heads,
            Tensor xi,
            Tensor xf,
            Tensor xz,
            Tensor xo,
            Tensor r,
            Tensor bias,
            Tensor initial,
            Tensor y,
            Tensor last,
            Tensor saved,
            Tensor scratch);

    /** dxi..dxo and dInitial (may be null) are written, dr and dbias added to; dLast (4, B, H) may be null, its m part is ignored. */
    void backward(
            Stream s,
            int heads,
            Tensor r,
            Tensor initial,
            Tensor y,
            Tensor saved,
            Tensor dy,
            Tensor dLast,
            Tensor dxi,
            Tensor dxf,
            Tensor dxz,
            Tensor dxo,
            Tensor dInitial,
            Tensor dr,
            Tensor dbias,
            Tensor scratch);
}

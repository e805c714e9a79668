package ai.lram.backend.ops;

/** Sizes of one mLSTM layer: B = batch, S = tokens, NH = heads, DHQK = query/key width per head, DHHV = value width per head. */
public record MlstmDims(int batch, int tokens, int heads, int dimQk, int dimHv) {
    public MlstmDims {
        if (batch < 1 || tokens < 1 || heads < 1 || dimQk < 1 || dimHv < 1) {
            throw new IllegalArgumentException(
                    "mLSTM sizes must be >= 1: batch=" + batch + " tokens=" + tokens + " heads=" + heads + " dimQk="
                            + dimQk + " dimHv=" + dimHv + "; check heads and width in the model config");
        }
    }
}

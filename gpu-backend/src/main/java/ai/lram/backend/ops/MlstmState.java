package ai.lram.backend.ops;

import ai.lram.backend.Tensor;

/**
 * Recurrent state of an mLSTM layer, or its gradient: matC (B, NH, DHQK, DHHV), vecN (B, NH, DHQK), scaM (B, NH), always F32. The
 * unstabilised state is matC * exp(scaM). Keys are stored unscaled (q carries 1/sqrt(DHQK)). All zero is the fresh state.
 * The sigmoid gate keeps scaM at zero.
 */
public record MlstmState(Tensor matC, Tensor vecN, Tensor scaM) {}

package ai.lram.backend.ops;

/** An mLSTM block of a model as the control step runs it: its weights, and what the sessions keep of it. */
public record MlstmLayer(MlstmBlockWeights weights, MlstmBlockState state) {}

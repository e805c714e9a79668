package ai.lram.agent.autodiff;

/** In what a tape keeps the values between layers. Parameters, their gradients and the optimiser's state are fp32 in both. */
public enum Precision {
    /** Everything in fp32. */
    FP32,
    /**
     * Mixed: what passes between the kernels of {@link ai.lram.backend.ops.MixedOps} is bf16, the residual stream, gates, statistics and
     * the loss are fp32, and so is every kernel that has no bf16 form.
     */
    BF16
}

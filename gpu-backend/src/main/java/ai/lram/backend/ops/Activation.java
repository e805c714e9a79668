package ai.lram.backend.ops;

/** Pointwise non-linearities. GELU is the exact (erf) form. */
public enum Activation {
    NONE,
    RELU,
    SILU,
    GELU,
    SIGMOID,
    TANH
}

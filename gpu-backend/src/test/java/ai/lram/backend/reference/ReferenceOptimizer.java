package ai.lram.backend.reference;

/** AdamW in fp64. */
public final class ReferenceOptimizer {
    private ReferenceOptimizer() {}

    /** One step in place. */
    public static void adamW(
            double lr,
            double beta1,
            double beta2,
            double eps,
            double weightDecay,
            double correction1,
            double correction2,
            double clip,
            double[] param,
            double[] grad,
            double[] m,
            double[] v) {
        for (int i = 0; i < param.length; i++) {
            double g = grad[i] * clip;
            m[i] = beta1 * m[i] + (1 - beta1) * g;
            v[i] = beta2 * v[i] + (1 - beta2) * g * g;
            param[i] -= lr * weightDecay * param[i];
            param[i] -= lr * (m[i] / correction1) / (Math.sqrt(v[i] / correction2) + eps);
        }
    }
}

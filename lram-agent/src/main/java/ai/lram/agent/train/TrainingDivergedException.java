package ai.lram.agent.train;

/** The loss or a gradient is no longer finite; the parameters are those before the failed update. */
public final class TrainingDivergedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public TrainingDivergedException(long update, double loss, double gradientNorm) {
        super(
                "training diverged at update " + update + "; why: loss=" + loss + " gradient norm=" + gradientNorm
                        + "; fix: lower the learning rate, raise the warm-up or clip more, and resume from the last checkpoint");
    }
}

package ai.lram.bench.subject;

import ai.lram.bench.WrongAnswerException;
import java.util.function.Supplier;

/** Whether a subject's first steps give the logits they should. */
final class Agreement {
    /** Differences beyond this share of the largest logit are no rounding. */
    static final double ROUNDING = 1e-4;

    private Agreement() {}

    /**
     * Takes one step for each expected row with session 0 of an emptied subject.
     *
     * @param expected logits by step, equally many each
     * @param origin of the expected ones, e.g. {@code the training pass}
     * @param logits of the last step, at least as many
     * @param what is checked, for the error
     * @param tolerance of the largest expected logit
     * @return largest difference found, likewise
     * @throws WrongAnswerException if one is larger, or an answer cannot be used
     */
    static double require(
            Subject subject,
            float[][] expected,
            String origin,
            Supplier<float[]> logits,
            String what,
            double tolerance) {
        double largest = 0;
        for (float[] row : expected) {
            for (float v : row) {
                largest = Math.max(largest, Math.abs(v));
            }
        }
        subject.begin(1, 0);
        double worst = 0;
        for (int t = 0; t < expected.length; t++) {
            subject.fill();
            subject.step();
            float[] got = logits.get();
            double off = subject.usable() ? 0 : Double.POSITIVE_INFINITY;
            for (int i = 0; i < expected[t].length; i++) {
                double d = Math.abs(got[i] - expected[t][i]) / largest;
                off = Double.isNaN(d) ? Double.POSITIVE_INFINITY : Math.max(off, d);
            }
            if (off > tolerance) {
                throw new WrongAnswerException(
                        what + " gives wrong answers",
                        "step " + t + " differs from " + origin + " by " + off + " of the largest logit",
                        "do not trust this build; run lram test");
            }
            worst = Math.max(worst, off);
        }
        return worst;
    }
}

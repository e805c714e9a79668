package ai.lram.backend.ops;

import ai.lram.backend.DType;

/**
 * When the ring is folded into the matrix state at the latest. Reading C costs DHQK*DHHV elements a step, a ring token DHQK + DHHV, a fold
 * twice C: so the first fold comes late (C is zero and not read before it) and later ones sooner.
 *
 * <p>Head h of layer l folds when its ring would exceed {@code first} (nothing folded yet) or {@code period} tokens, each shortened by
 * a stagger in 0..stagger-1 steps of 3 tokens that depends on (l * NH + h), for the first fold only; later folds keep the distance.
 *
 * <p>An engine may give each session a phase of its own on top, and fold sooner: a kernel of few sessions, whose C is in fp32 and in registers
 * anyway, folds a step's tokens at once and leaves the ring empty. A state in bf16 is folded at the ends of these periods and no sooner: each fold
 * rounds it.
 *
 * @param first ring length that triggers a head's first fold; 3..R
 * @param period ring length that triggers later folds; 3..R
 * @param stagger number of different phases, 1..2^20
 */
public record FoldSchedule(int first, int period, int stagger) {
    private static final int MOST_PHASES = 1 << 20;

    public FoldSchedule {
        if (first < 3 || period < 3 || stagger < 1 || stagger > MOST_PHASES) {
            throw new IllegalArgumentException("a fold schedule needs first >= 3, period >= 3, stagger in 1.."
                    + MOST_PHASES + ", got first="
                    + first + " period=" + period + " stagger=" + stagger);
        }
    }

    /** Ring capacity that this schedule needs. */
    public int capacity() {
        return Math.max(first, period);
    }

    /** From the byte counts for one head with a matrix state in fp32. */
    public static FoldSchedule forHead(int dimQk, int dimHv) {
        return forHead(dimQk, dimHv, DType.F32);
    }

    /**
     * From the byte counts for one head with matrix state and ring in {@code state}. The period is that of the fewest bytes, the same for each type.
     * In bf16 the first fold comes sooner than these ask for, when the ring is as large as half of C and a period's tokens: it is what a session's memory
     * must have room for.
     */
    public static FoldSchedule forHead(int dimQk, int dimHv, DType state) {
        double c = (double) dimQk * dimHv;
        double token = dimQk + dimHv;
        int period = (int) Math.ceil(Math.sqrt(12 * c / token));
        int first = (int) Math.ceil(c * state.bytes() / Float.BYTES / token + period);
        return new FoldSchedule(Math.max(6, first), Math.max(6, period), Math.max(1, period / 3));
    }

    /**
     * Ring length at which a head folds for the first time: at least 3, and one of {@code stagger} up to {@code first}.
     *
     * @param index layer * NH + head, and the session's phase where an engine has such
     */
    public int firstOf(int index) {
        return Math.max(3, first - 3 * Math.floorMod(index, stagger));
    }
}

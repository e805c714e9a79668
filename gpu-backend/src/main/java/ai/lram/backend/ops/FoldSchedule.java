package ai.lram.backend.ops;

/**
 * When the ring is folded into the matrix state at the latest. Reading C costs DHQK*DHHV elements a step, a ring token DHQK + DHHV, a fold twice C.
 *
 * <p>Head h of layer l folds when its ring would exceed {@code first} (nothing folded yet) or {@code period} tokens, the first shortened by
 * a stagger in 0..stagger-1 steps of 3 tokens that depends on (l * NH + h); later folds keep the distance. So in a steady state each step has an equal
 * share of the folds.
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

    /**
     * From the counts of elements for one head: the period of the fewest, in which the first fold comes, too, so that none has more tokens. While
     * nothing is folded a step reads no C: fewer elements in all would be moved if the first fold came late. But the steps in which it comes would
     * take three times as long as all others, also for sessions that share them, and a ring of that length would be as large as C.
     */
    public static FoldSchedule forHead(int dimQk, int dimHv) {
        double c = (double) dimQk * dimHv;
        double token = dimQk + dimHv;
        int period = Math.max(6, (int) Math.ceil(Math.sqrt(12 * c / token)));
        return new FoldSchedule(period, period, period / 3);
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

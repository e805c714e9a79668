package ai.lram.runtime.session;

import ai.lram.agent.card.ActionFeature;
import ai.lram.agent.card.Fallback;
import ai.lram.agent.card.TaskCard;

/**
 * The last thing an action passes before it leaves. Every action, the fallback included, goes through it.
 *
 * <p>Rules of a continuous task, in float precision:
 * <ul>
 *   <li>NaN or infinite in any dimension: the whole action is refused ({@link #NOT_FINITE}); a partly meaningless action has no
 *       meaningful remainder.
 *   <li>Outside [{@code low}, {@code high}]: clamped, since the nearest executable command is the least surprising one.
 *   <li>Further than {@code maxRate / rateHz} from the action sent before: moved as far as the limit allows. Bounds come first,
 *       and the action sent before was within bounds, so both hold in the end.
 * </ul>
 * Before the first action of an episode the rate limit is measured from the observed value where the feature is relative to an
 * observation, else there is nothing to measure from and only the bounds hold. A discrete task's action must be one of its ids,
 * else it is refused ({@link #BAD_ID}).
 *
 * <p>Single thread; allocates nothing after construction.
 */
public final class SafetyStage {
    /** {@link #apply}: the action passed unchanged. */
    public static final int PASSED = 0;
    /** {@link #apply}: the action was clamped to its bounds. */
    public static final int OUT_OF_BOUNDS = 1;
    /** {@link #apply}: the action was held back by a rate limit. May be combined with {@link #OUT_OF_BOUNDS}. */
    public static final int TOO_FAST = 2;
    /** {@link #apply}: refused, the action is NaN or infinite and has not been touched. */
    public static final int NOT_FINITE = -1;
    /** {@link #apply}: refused, there is no such discrete action. */
    public static final int BAD_ID = -2;

    private final int size;
    private final int discreteActions;
    private final boolean hold;
    private final float[] low;
    private final float[] high;
    private final float[] largestStep;
    private final int[] measuredBy;
    private final float[] safe;
    private final float[] last;
    private final boolean[] lastKnown;
    private boolean sent;

    public SafetyStage(TaskCard task) {
        size = task.actionSize();
        discreteActions = task.discreteActions();
        hold = task.fallback() == Fallback.HOLD;
        low = new float[size];
        high = new float[size];
        largestStep = new float[size];
        measuredBy = new int[size];
        safe = new float[size];
        last = new float[size];
        lastKnown = new boolean[size];
        for (int i = 0; i < size; i++) {
            ActionFeature feature = task.action().get(i);
            low[i] = (float) feature.low();
            high[i] = (float) feature.high();
            largestStep[i] = (float) (feature.maxRate() / task.rateHz());
            measuredBy[i] = feature.relativeTo() == null ? -1 : task.observationIndex(feature.relativeTo());
            safe[i] = task.safeAction().get(i).floatValue();
        }
    }

    /** Forgets the action sent before: the robot was put somewhere else. {@code observation} is the new episode's first. */
    public void beginEpisode(float[] observation) {
        sent = false;
        for (int i = 0; i < size; i++) {
            lastKnown[i] = measuredBy[i] >= 0;
            if (lastKnown[i]) {
                last[i] = Math.clamp(observation[measuredBy[i]], low[i], high[i]);
            }
        }
    }

    /**
     * Checks and corrects the first {@code actionSize} values of {@code action} in place.
     *
     * @return {@link #PASSED}, a combination of {@link #OUT_OF_BOUNDS} and {@link #TOO_FAST}, or a negative refusal
     */
    public int apply(float[] action) {
        for (int i = 0; i < size; i++) {
            if (!Float.isFinite(action[i])) {
                return NOT_FINITE;
            }
        }
        if (discreteActions > 0) {
            int id = (int) action[0];
            return id == action[0] && id >= 0 && id < discreteActions ? PASSED : BAD_ID;
        }
        int result = PASSED;
        for (int i = 0; i < size; i++) {
            float value = action[i];
            if (value < low[i] || value > high[i]) {
                value = Math.clamp(value, low[i], high[i]);
                result |= OUT_OF_BOUNDS;
            }
            if (lastKnown[i]) {
                float from = last[i] - largestStep[i];
                float to = last[i] + largestStep[i];
                if (value < from || value > to) {
                    value = Math.clamp(value, from, to);
                    result |= TOO_FAST;
                }
            }
            action[i] = value;
        }
        return result;
    }

    /** Writes the declared fallback action, itself held to the rate limits, and returns what {@link #apply} said of it. */
    public int fallback(float[] action) {
        System.arraycopy(hold && sent ? last : safe, 0, action, 0, size);
        return apply(action);
    }

    /** Remembers what was sent. */
    public void sent(float[] action) {
        System.arraycopy(action, 0, last, 0, size);
        java.util.Arrays.fill(lastKnown, true);
        sent = true;
    }
}

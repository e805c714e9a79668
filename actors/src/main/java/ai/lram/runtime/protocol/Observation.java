package ai.lram.runtime.protocol;

/**
 * One observation as it enters a session. The session owns the arrays from here on; nobody writes to them again.
 *
 * @param sequence 0 for the first observation of a session, then strictly +1, across episodes too
 * @param captureNs when the robot measured it, on the robot's own monotonic clock; compared only with other such stamps
 * @param receivedNs when it reached this process, on this process's monotonic clock
 * @param budgetNs time from {@code receivedNs} until the action must leave; zero or less when it came too late,
 *     {@link #ONE_PERIOD} for one control period of the task
 * @param vector observation features in the task's order, raw units
 * @param image uint8 CHW image, empty for a task without images
 * @param reward reward of the previous action; ignored for the first observation of a session
 * @param reset true if this observation starts a new episode
 */
public record Observation(
        long sequence,
        long captureNs,
        long receivedNs,
        long budgetNs,
        float[] vector,
        byte[] image,
        float reward,
        boolean reset) {
    /** Value of {@code budgetNs}: the deadline is one control period after receipt. */
    public static final long ONE_PERIOD = Long.MAX_VALUE;
}

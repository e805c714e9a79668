package ai.lram.runtime.protocol;

/**
 * The answer to one observation.
 *
 * @param sequence the observation's sequence number
 * @param status what {@code action} is
 * @param cause why a fallback was sent; {@link FallbackCause#NONE} otherwise
 * @param refusal why the observation was refused; {@link Refusal#NONE} otherwise
 * @param detail what, why and fix for a refusal; empty otherwise
 * @param action the action to execute, raw units, owned by the receiver; empty if refused
 * @param clamped true if the safety stage changed the action to keep it within bounds or rate limits
 * @param resetRequired true if the session's state cannot be used any more: the next observation must start an episode
 * @param timing where the time went on this host
 */
public record ActionReply(
        long sequence,
        Status status,
        FallbackCause cause,
        Refusal refusal,
        String detail,
        float[] action,
        boolean clamped,
        boolean resetRequired,
        StepTiming timing) {
    /** What an {@link ActionReply} carries. */
    public enum Status {
        /** The policy's action, as passed by the safety stage. */
        OK,
        /** The session's declared fallback action. */
        FALLBACK,
        /** No action: the observation was refused and changed nothing; the sequence number is still open. */
        REFUSED
    }
}

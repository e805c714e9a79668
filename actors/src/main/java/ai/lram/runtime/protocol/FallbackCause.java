package ai.lram.runtime.protocol;

/** Why a session sent its fallback action. */
public enum FallbackCause {
    NONE(false),
    /** Deadline missed while the step waited for the inference thread. */
    QUEUE(true),
    /** Deadline missed while the policy computed. */
    INFERENCE(true),
    /** Deadline missed because garbage collection stopped the process. */
    GARBAGE_COLLECTION(true),
    /** The deadline had passed before the observation arrived. */
    LATE_CLIENT(true),
    /** The policy's action was no usable one: a discrete id that does not exist. */
    UNSAFE_ACTION(false),
    /** The policy's result was not finite; the session must be reset. */
    NOT_FINITE(false),
    /** The policy failed; the session must be reset. */
    POLICY_FAILURE(false),
    /** The session's state was lost earlier and no new episode has been started since. */
    RESET_REQUIRED(false),
    /** No policy is running. */
    POLICY_DOWN(false);

    private final boolean missedDeadline;

    FallbackCause(boolean missedDeadline) {
        this.missedDeadline = missedDeadline;
    }

    /** True for the causes of a missed deadline; the late result still advances the session's state. */
    public boolean missedDeadline() {
        return missedDeadline;
    }
}

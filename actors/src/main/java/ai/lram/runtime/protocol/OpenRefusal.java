package ai.lram.runtime.protocol;

/** Why a session was not opened. */
public enum OpenRefusal {
    /** The model has no such task. */
    UNKNOWN_TASK,
    /** The robot describes itself differently from the model card. */
    DESCRIPTION_MISMATCH,
    /** A value of the request cannot be used. */
    BAD_REQUEST,
    /** All sessions are taken. */
    SESSION_LIMIT,
    /** Recording was asked for and is not configured, or not possible for this task. */
    RECORDING_UNAVAILABLE,
    /** No policy is running. */
    POLICY_DOWN,
    /** The runtime is shutting down. */
    SHUTTING_DOWN
}

package ai.lram.runtime.protocol;

/** Why an observation was refused. A refused observation changes no state. */
public enum Refusal {
    NONE,
    /** This sequence number has been answered before. */
    DUPLICATE,
    /** A sequence number was left out. */
    OUT_OF_ORDER,
    /** The vector has not as many values as the task has observation features. */
    WRONG_LENGTH,
    /** The image is not of the task's shape. */
    WRONG_IMAGE,
    /** The vector or the reward is NaN or infinite. */
    NOT_FINITE,
    /** A value is outside the range its feature declares. */
    OUT_OF_RANGE,
    /** The deadline is longer than the server accepts. */
    BAD_DEADLINE,
    /** The previous episode was ended; the next observation must start one. */
    EPISODE_OVER,
    /** Too many observations of this session are waiting for an answer. */
    BACKLOG,
    /** Observations come faster than the server's rate limit. */
    RATE_LIMITED
}

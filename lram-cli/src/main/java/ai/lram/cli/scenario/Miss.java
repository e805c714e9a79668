package ai.lram.cli.scenario;

import ai.lram.runtime.protocol.FallbackCause;

/** Why an action did not reach its robot within the control period. */
public enum Miss {
    /** It waited for the inference thread. */
    QUEUE("queue"),
    /** The policy computed too long. */
    INFERENCE("inference"),
    /** Garbage collection stopped the server or the robot's process. */
    GARBAGE_COLLECTION("garbageCollection"),
    /** The robot's process sent late, or took the reply late. */
    LATE_CLIENT("lateClient");

    private final String key;

    Miss(String key) {
        this.key = key;
    }

    /** Name in JSON. */
    public String key() {
        return key;
    }

    /** The server's account of a missed deadline. */
    static Miss of(FallbackCause cause) {
        return switch (cause) {
            case QUEUE -> QUEUE;
            case INFERENCE -> INFERENCE;
            case GARBAGE_COLLECTION -> GARBAGE_COLLECTION;
            case LATE_CLIENT -> LATE_CLIENT;
            case NONE, UNSAFE_ACTION, NOT_FINITE, POLICY_FAILURE, RESET_REQUIRED, POLICY_DOWN ->
                throw new IllegalArgumentException(cause + " is no missed deadline");
        };
    }
}

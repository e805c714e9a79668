package ai.lram.bridge.rollout;

/** A closed-loop run or data generation that cannot start or go on. The message says what, why and fix. */
public final class RolloutException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public RolloutException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }
}

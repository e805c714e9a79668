package ai.lram.agent.policy;

/** A control step or session call that cannot be carried out; no state has changed. The message says what, why and fix. */
public final class PolicyException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public PolicyException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }
}

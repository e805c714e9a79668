package ai.lram.agent.policy;

/** A control step or session call that cannot be carried out; no state has changed. The message says what, why and fix. */
public final class PolicyException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public PolicyException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    /** A saved state is put into a policy whose states have another size. */
    public static void requireStateSize(long bytes, long ofPolicy) {
        if (bytes != ofPolicy) {
            throw new PolicyException(
                    "a session state of " + bytes + " bytes",
                    "this policy's state has " + ofPolicy,
                    "save and restore with the same model, fold schedule and context");
        }
    }

    /** A state is saved where there is no room for it. */
    public static void requireRoom(long bytes, long ofPolicy) {
        if (bytes < ofPolicy) {
            throw new PolicyException(
                    "memory of " + bytes + " bytes for a session state",
                    "this policy's state has " + ofPolicy,
                    "allocate stateBytes() for it");
        }
    }
}

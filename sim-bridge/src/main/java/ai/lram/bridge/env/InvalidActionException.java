package ai.lram.bridge.env;

/** An action of the wrong length, with a NaN or infinite entry, or no such discrete action. */
public final class InvalidActionException extends EnvironmentException {
    private static final long serialVersionUID = 1L;

    public InvalidActionException(String what, String why, String fix) {
        super(what, why, fix);
    }
}

package ai.lram.bridge.env;

/** A step before the first reset or after the end of an episode. */
public final class EnvironmentStateException extends EnvironmentException {
    private static final long serialVersionUID = 1L;

    public EnvironmentStateException(String what, String why, String fix) {
        super(what, why, fix);
    }
}

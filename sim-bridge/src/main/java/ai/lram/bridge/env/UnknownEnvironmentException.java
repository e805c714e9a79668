package ai.lram.bridge.env;

/** No environment has this id; the message lists those there are. */
public final class UnknownEnvironmentException extends EnvironmentException {
    private static final long serialVersionUID = 1L;

    public UnknownEnvironmentException(String what, String why, String fix) {
        super(what, why, fix);
    }
}

package ai.lram.cli.config;

/** An argument, a setting or a file that cannot be used. The message says what, why and fix. */
public final class InputException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public InputException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    public InputException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}

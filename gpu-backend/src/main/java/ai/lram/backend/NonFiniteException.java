package ai.lram.backend;

/** A tensor holds NaN or infinity where finite numbers are required. */
public final class NonFiniteException extends BackendException {
    private static final long serialVersionUID = 1L;

    public NonFiniteException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public NonFiniteException(String what, String why, String fix, Throwable cause) {
        super(Severity.RETRY, what, why, fix, cause);
    }
}

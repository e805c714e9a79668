package ai.lram.backend;

/** A tensor's shape, dtype or place is not what the kernel's specification says; nothing was computed. */
public final class ShapeMismatchException extends BackendException {
    private static final long serialVersionUID = 1L;

    public ShapeMismatchException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public ShapeMismatchException(String what, String why, String fix, Throwable cause) {
        super(Severity.RETRY, what, why, fix, cause);
    }
}

package ai.lram.backend;

/** This engine has no kernel for the call; nothing was computed. Another engine may have one. */
public final class UnsupportedKernelException extends BackendException {
    private static final long serialVersionUID = 1L;

    public UnsupportedKernelException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public UnsupportedKernelException(String what, String why, String fix, Throwable cause) {
        super(Severity.DEGRADE, what, why, fix, cause);
    }
}

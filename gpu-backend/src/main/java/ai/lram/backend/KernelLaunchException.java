package ai.lram.backend;

/** A kernel could not be compiled or launched. */
public final class KernelLaunchException extends BackendException {
    private static final long serialVersionUID = 1L;

    public KernelLaunchException(String what, String why, String fix) {
        this(what, why, fix, null);
    }

    public KernelLaunchException(String what, String why, String fix, Throwable cause) {
        super(Severity.STOP, what, why, fix, cause);
    }
}

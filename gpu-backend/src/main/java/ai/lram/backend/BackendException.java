package ai.lram.backend;

/** Every error of the numeric core. Supervisors act on {@link #severity()}, never on the text. */
public abstract sealed class BackendException extends RuntimeException
        permits ShapeMismatchException,
                DeviceOutOfMemoryException,
                BackendUnavailableException,
                NonFiniteException,
                ArenaClosedException,
                KernelLaunchException,
                UnsupportedKernelException,
                DeviceLostException {
    private static final long serialVersionUID = 1L;

    /** What a supervisor does next. */
    public enum Severity {
        /** The call was wrong or the moment was bad: state is unchanged, a corrected call may be made. */
        RETRY,
        /** Go on with less: another engine, a smaller batch. */
        DEGRADE,
        /** The engine cannot be used any more. */
        STOP
    }

    private final Severity severity;

    BackendException(Severity severity, String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
        this.severity = severity;
    }

    public final Severity severity() {
        return severity;
    }
}

package ai.lram.runtime;

/** The runtime was closed. */
public final class RuntimeClosedException extends LramRuntimeException {
    private static final long serialVersionUID = 1L;

    RuntimeClosedException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

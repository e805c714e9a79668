package ai.lram.runtime;

/** The policy could not be made, or took too long. */
public final class RuntimeStartException extends LramRuntimeException {
    private static final long serialVersionUID = 1L;

    RuntimeStartException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

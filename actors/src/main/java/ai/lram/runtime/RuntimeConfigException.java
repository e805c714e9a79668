package ai.lram.runtime;

/** A setting that cannot be used. */
public final class RuntimeConfigException extends LramRuntimeException {
    private static final long serialVersionUID = 1L;

    RuntimeConfigException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

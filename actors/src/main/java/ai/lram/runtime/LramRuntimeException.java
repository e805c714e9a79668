package ai.lram.runtime;

/** A runtime that cannot do what was asked. Messages say what, why and fix. */
public abstract sealed class LramRuntimeException extends RuntimeException
        permits RuntimeConfigException, RuntimeStartException, RuntimeClosedException {
    private static final long serialVersionUID = 1L;

    LramRuntimeException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}

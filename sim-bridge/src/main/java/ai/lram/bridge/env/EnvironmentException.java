package ai.lram.bridge.env;

/**
 * An environment that cannot be found or used as asked; its state has not changed. The message says what, why and
 * fix.
 */
public abstract sealed class EnvironmentException extends RuntimeException
        permits UnknownEnvironmentException, InvalidActionException, InvalidBufferException, EnvironmentStateException {
    private static final long serialVersionUID = 1L;

    EnvironmentException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }
}

package ai.lram.runtime.protocol;

/** Why a session ended. */
public enum CloseReason {
    /** The robot closed it or its connection went away. */
    CLIENT,
    /** No observation arrived for the idle timeout. */
    IDLE,
    /** The runtime is shutting down. */
    SHUTDOWN,
    /** A defect in the runtime; the message names it. */
    FAILURE
}

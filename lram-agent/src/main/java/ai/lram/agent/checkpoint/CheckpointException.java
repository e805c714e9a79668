package ai.lram.agent.checkpoint;

/** Root of every error about models on disk. The message says what happened, why, and how to fix it. */
public abstract sealed class CheckpointException extends RuntimeException
        permits CheckpointReadException,
                CheckpointWriteException,
                CorruptCheckpointException,
                IncompatibleCheckpointException {
    private static final long serialVersionUID = 1L;

    CheckpointException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}

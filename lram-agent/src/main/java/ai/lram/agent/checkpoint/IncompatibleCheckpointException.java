package ai.lram.agent.checkpoint;

/** A sound file that does not fit: another version, another model, unknown or missing entries. */
public final class IncompatibleCheckpointException extends CheckpointException {
    private static final long serialVersionUID = 1L;

    public IncompatibleCheckpointException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public IncompatibleCheckpointException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

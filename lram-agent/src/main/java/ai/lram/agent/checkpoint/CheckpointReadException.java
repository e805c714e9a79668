package ai.lram.agent.checkpoint;

/** A checkpoint that is not there or cannot be read from the disk. */
public final class CheckpointReadException extends CheckpointException {
    private static final long serialVersionUID = 1L;

    public CheckpointReadException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public CheckpointReadException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

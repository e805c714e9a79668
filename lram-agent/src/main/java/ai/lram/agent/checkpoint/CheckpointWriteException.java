package ai.lram.agent.checkpoint;

/** A checkpoint that could not be written; what was there before is untouched. */
public final class CheckpointWriteException extends CheckpointException {
    private static final long serialVersionUID = 1L;

    public CheckpointWriteException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public CheckpointWriteException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

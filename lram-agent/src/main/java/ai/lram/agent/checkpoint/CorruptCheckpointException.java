package ai.lram.agent.checkpoint;

/** A file whose content contradicts itself or its format: truncated, damaged or forged. */
public final class CorruptCheckpointException extends CheckpointException {
    private static final long serialVersionUID = 1L;

    public CorruptCheckpointException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public CorruptCheckpointException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

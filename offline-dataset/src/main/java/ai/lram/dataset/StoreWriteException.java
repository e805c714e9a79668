package ai.lram.dataset;

/** Data that could not be written; nothing of it was published. */
public final class StoreWriteException extends DatasetException {
    private static final long serialVersionUID = 1L;

    public StoreWriteException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public StoreWriteException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

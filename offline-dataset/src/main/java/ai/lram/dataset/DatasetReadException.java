package ai.lram.dataset;

/** A file or folder that is missing or cannot be read by the operating system. */
public final class DatasetReadException extends DatasetException {
    private static final long serialVersionUID = 1L;

    public DatasetReadException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public DatasetReadException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

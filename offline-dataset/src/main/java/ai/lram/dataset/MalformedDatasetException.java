package ai.lram.dataset;

/** A foreign data set that contradicts itself or its format: lengths, columns, types, values. */
public final class MalformedDatasetException extends DatasetException {
    private static final long serialVersionUID = 1L;

    public MalformedDatasetException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public MalformedDatasetException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

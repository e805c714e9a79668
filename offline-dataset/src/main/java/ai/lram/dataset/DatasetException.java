package ai.lram.dataset;

/** Root of every error this module raises about data. The message says what happened, why, and how to fix it. */
public abstract sealed class DatasetException extends RuntimeException
        permits CorruptStoreException,
                DatasetReadException,
                MalformedDatasetException,
                StoreWriteException,
                UnsupportedFormatException {
    private static final long serialVersionUID = 1L;

    DatasetException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}

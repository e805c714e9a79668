package ai.lram.dataset;

/** A trajectory store whose bytes are not those its manifest, sizes or checksums promise. */
public final class CorruptStoreException extends DatasetException {
    private static final long serialVersionUID = 1L;

    public CorruptStoreException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public CorruptStoreException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

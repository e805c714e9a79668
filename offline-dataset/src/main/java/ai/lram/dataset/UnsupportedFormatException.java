package ai.lram.dataset;

/** A format, version, codec or element type this module does not read; the message lists what it does. */
public final class UnsupportedFormatException extends DatasetException {
    private static final long serialVersionUID = 1L;

    public UnsupportedFormatException(String what, String why, String fix) {
        super(what, why, fix, null);
    }

    public UnsupportedFormatException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}

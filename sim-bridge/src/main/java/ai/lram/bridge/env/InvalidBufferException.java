package ai.lram.bridge.env;

/** An observation buffer whose length is not the environment's observation size. */
public final class InvalidBufferException extends EnvironmentException {
    private static final long serialVersionUID = 1L;

    public InvalidBufferException(String what, String why, String fix) {
        super(what, why, fix);
    }
}

package ai.lram.agent;

/** A configuration that cannot be used. The message says what, why and how to fix it. */
public final class ConfigException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public ConfigException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }

    public ConfigException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }
}

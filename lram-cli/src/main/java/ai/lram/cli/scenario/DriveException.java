package ai.lram.cli.scenario;

/** A robot that could not go on: its server refused an observation or lost its state. The message says what, why and fix. */
public final class DriveException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public DriveException(String what, String why, String fix) {
        super(what + "; why: " + why + "; fix: " + fix);
    }
}

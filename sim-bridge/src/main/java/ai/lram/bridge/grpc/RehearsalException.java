package ai.lram.bridge.grpc;

/** A robot would have got no action. */
public final class RehearsalException extends BridgeException {
    private static final long serialVersionUID = 1L;

    RehearsalException(String what, String why, Throwable cause) {
        super(what, why, "look at the server's log; lram.bridge.rehearsal = 0s serves without a rehearsal", cause);
    }
}

package ai.lram.bridge.grpc;

import io.grpc.Status;

/** The server does not open the session; the message is its own. */
public final class SessionRefusedException extends BridgeException {
    private static final long serialVersionUID = 1L;

    private final Status.Code code;

    SessionRefusedException(Status status, Throwable cause) {
        super(String.valueOf(status.getDescription()), cause);
        this.code = status.getCode();
    }

    /** The status code, as {@code control.proto} lists them. */
    public Status.Code code() {
        return code;
    }
}
